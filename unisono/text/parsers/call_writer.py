"""Writes the calls of one answer as they come: names, and arguments as JSON text.

Some formats write arguments as JSON, which passes through; others as one text a parameter, whose
JSON is written here: a string where the tool's schema wants one, else the value that the text says.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from unisono.text.parsers.literals import literal_as_json
from unisono.text.parsers.marks import Marks
from unisono.text.parsers.values import property_schema, schema_types, value_as_json
from unisono.text.parts import ToolCall


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
        marks: Marks,
    ) -> None:
        self._sink = sink
        self._new_id = new_id
        self._schemas = schemas
        self._marks = marks
        self.count = 0
        """Number of calls begun."""
        self._name = ""
        self._num_members = 0

    @property
    def tools(self) -> Mapping[str, Mapping[str, Any]]:
        return self._schemas

    @property
    def schema(self) -> Mapping[str, Any]:
        """The schema of the parameters of the call that was begun last."""
        return self._schemas.get(self._name, {})

    def begin(self, name: str, id: str = "") -> None:
        self._name, self._num_members = self._marks.spell(name), 0
        self.count += 1
        id = self._marks.spell(id) or self._new_id(self._name, self.count - 1)
        self._sink(ToolCall(self.count - 1, id, self._name))

    def arguments(self, text: str) -> None:
        """More of the arguments' JSON."""
        if text := self._marks.spell_in_json(text):
            self._sink(ToolCall(self.count - 1, arguments=text))

    def parameter(self, name: str, value: str, *, is_text: bool | None = None) -> None:
        """A parameter, from the text that stands for its value.

        Args:
            is_text: the model says whether the value is a text; None leaves it to the schema.
        """
        types = schema_types(property_schema(self.schema, name))
        if is_text is not None:
            types = frozenset({"string"} if is_text else ())
        self.member(name, value_as_json(self._marks.spell(value), types))

    def literal(self, name: str, value: str, quote: str = "") -> None:
        """A parameter, from a literal as of :func:`literal_as_json`; what is none is a text."""
        try:
            written = literal_as_json(value, quote)
        except ValueError:
            written = json.dumps(self._marks.spell(value.strip()), ensure_ascii=False)
        self.member(name, written)

    def member(self, name: str, value: str) -> None:
        """A parameter, from the JSON of its value."""
        before = ", " if self._num_members else "{"
        self._num_members += 1
        self.arguments(f"{before}{json.dumps(name, ensure_ascii=False)}: {value}")

    def end_members(self) -> None:
        self.arguments("}" if self._num_members else "{}")
