"""Writes the calls of one answer as they come: names, and arguments as JSON text.

Some formats write arguments as JSON, which passes through; others as one text a parameter, whose
JSON is written here: a string where the tool's schema wants one, else the value that the text says.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Mapping
from typing import Any

from unisono.text.parts import ToolCall

_MAX_LITERAL = 1 << 16
"""Characters of a value that is read as a Python literal."""
_MAX_DEPTH = 32


class CallWriter:
    """Args:
    sink: takes the calls, bit by bit.
    new_id: from a call's name and index to its id.
    schemas: JSON schema of each tool's parameters, by the tool's name.
    """

    def __init__(
        self,
        sink: Callable[[ToolCall], None],
        new_id: Callable[[str, int], str],
        schemas: Mapping[str, Mapping[str, Any]],
    ) -> None:
        self._sink = sink
        self._new_id = new_id
        self._schemas = schemas
        self.count = 0
        """Number of calls begun."""
        self._name = ""
        self._num_parameters = 0

    @property
    def tools(self) -> Mapping[str, Mapping[str, Any]]:
        return self._schemas

    def begin(self, name: str, id: str = "") -> None:
        self._name, self._num_parameters = name, 0
        self.count += 1
        self._sink(ToolCall(self.count - 1, id or self._new_id(name, self.count - 1), name))

    def arguments(self, text: str) -> None:
        """More of the arguments' JSON."""
        if text:
            self._sink(ToolCall(self.count - 1, arguments=text))

    def parameter(self, name: str, value: str, *, is_text: bool | None = None) -> None:
        """A parameter, from the text that stands for its value.

        Args:
            is_text: the model says whether the value is a text; None leaves it to the schema.
        """
        if is_text is None:
            is_text = self._is_text(name)
        written = json.dumps(value, ensure_ascii=False) if is_text else _as_json(value)
        before = ", " if self._num_parameters else "{"
        self._num_parameters += 1
        self.arguments(f"{before}{json.dumps(name, ensure_ascii=False)}: {written}")

    def end_parameters(self) -> None:
        self.arguments("}" if self._num_parameters else "{}")

    def _is_text(self, name: str) -> bool:
        """True where the schema allows nothing but a string there."""
        schema = self._schemas.get(self._name, {})
        properties = schema.get("properties")
        wanted = properties.get(name) if isinstance(properties, Mapping) else None
        if not isinstance(wanted, Mapping):
            return False
        if (values := wanted.get("enum")) and isinstance(values, list):
            return all(isinstance(value, str) for value in values)
        return wanted.get("type") in ("string", ["string"])


def _as_json(text: str) -> str:
    """JSON of the value that a text says: JSON itself, or a Python literal, or else a string."""
    stripped = text.strip()
    try:
        json.loads(stripped, parse_constant=_refuse)
        return stripped
    except (ValueError, RecursionError):
        pass
    try:
        return json.dumps(read_literal(stripped), ensure_ascii=False, allow_nan=False)
    except (ValueError, TypeError):
        return json.dumps(text, ensure_ascii=False)


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def read_literal(text: str) -> Any:
    """The value of a Python literal.

    Raises:
        ValueError: it is none, or a very large or deep one.
    """
    if len(text) > _MAX_LITERAL or sum(map(text.count, "([{-+~")) > _MAX_DEPTH * 8:
        raise ValueError("too large for a literal")
    try:
        return ast.literal_eval(text)
    except (SyntaxError, RecursionError, MemoryError, TypeError) as error:
        raise ValueError("no literal") from error
