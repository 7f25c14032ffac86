"""Rules and terminals of a grammar for llguidance, each with a name of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from unisono.text.grammar.ecma_pattern import literal_pattern

ANYTHING = "/(?s:.*)/"


class Rules:
    """Equal bodies have one name."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def __iter__(self) -> Iterator[str]:
        return (f"{name}: {body}" for body, name in self._names.items())

    def named(self, body: str) -> str:
        """The name of a rule."""
        return self._names.setdefault(body, f"rule_{len(self._names)}")

    def terminal(self, body: str) -> str:
        """The name of a terminal, whose body may have ``&`` and ``~``."""
        return self._names.setdefault(f"({body})", f"TERMINAL_{len(self._names)}")

    def text_without(self, letters: list[str]) -> str:
        """A terminal: any text that has none of these in it."""
        if not letters:
            return self.terminal(ANYTHING)
        found = "|".join(map(literal_pattern, letters))
        return self.terminal(f"{ANYTHING} & ~/(?s:.*)({found})(?s:.*)/")


class Writer(Protocol):
    """Writes nodes as symbols."""

    rules: Rules

    def symbols(self, node: Any) -> str: ...

    def json(self, schema: Any) -> str: ...
