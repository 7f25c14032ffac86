"""The values of a GGUF header by key, with look-ups whose errors name file and key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from unisono.core.errors import CheckpointError
from unisono.gguf.cursor import Array, Scalar

T = TypeVar("T")


class Metadata:
    """Raises:
    CheckpointError: (all look-ups) the value is of another kind.
    """

    def __init__(self, values: Mapping[str, Scalar | Array], source: str) -> None:
        self._values = dict(values)
        self.source = source

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def text(self, key: str, default: str | None = None) -> str | None:
        return self._of_kind(key, default, str, "a text")

    def required_text(self, key: str) -> str:
        text = self.text(key)
        if text is None:
            raise CheckpointError(
                f"{self.source} does not say {key}.",
                hint="It is not a language model, or a damaged file.",
            )
        return text

    def flag(self, key: str, default: bool | None = None) -> bool | None:
        return self._of_kind(key, default, bool, "true or false")

    def integer(self, key: str, default: int | None = None) -> int | None:
        return self._of_kind(key, default, int, "an integer")

    def number(self, key: str, default: float | None = None) -> float | None:
        value = self._values.get(key, default)
        if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)):
            return value
        raise self._wrong(key, "a number")

    def texts(self, key: str) -> list[str] | None:
        """A list of texts; None where there is none."""
        return self._list(key, Array.strings, "a list of texts")

    def numbers(self, key: str) -> list[int | float] | None:
        """A list of numbers; None where there is none."""
        return self._list(key, Array.numbers, "a list of numbers")

    def scalar_or_numbers(self, key: str) -> Any:
        """A number, or a list with one for each layer; None where there is none."""
        if isinstance(self._values.get(key), Array):
            return self.numbers(key)
        return self.number(key)

    def length(self, key: str) -> int:
        """Number of items of a list; 0 where there is none."""
        value = self._values.get(key)
        return value.count if isinstance(value, Array) else 0

    def _of_kind(self, key: str, default: T | None, kind: type[T], words: str) -> T | None:
        value = self._values.get(key, default)
        if value is not None and type(value) is not kind:
            raise self._wrong(key, words)
        return value

    def _list(self, key: str, decode: Any, words: str) -> Any:
        value = self._values.get(key)
        if value is None:
            return None
        try:
            if isinstance(value, Array):
                return decode(value)
        except ValueError as error:
            raise self._wrong(key, words) from error
        raise self._wrong(key, words)

    def _wrong(self, key: str, words: str) -> CheckpointError:
        value = self._values[key]
        shown = "a list of something else" if isinstance(value, Array) else f"{value!r:.60}"
        return CheckpointError(
            f"{self.source}: {key} must be {words}, is {shown}.",
            hint="The file is damaged, or was not made by llama.cpp: fetch another.",
        )
