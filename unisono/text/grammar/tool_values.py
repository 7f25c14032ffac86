"""Values of parameters, as JSON or as the text that stands for them.

The parser reads a text back by the schema's types (``text/parsers/values.py``): a value is written
here in such a way alone that what is read is what the schema allows.
"""

from __future__ import annotations

from typing import Any

from unisono.core.errors import InvalidRequestError
from unisono.text.grammar.rules import Writer
from unisono.text.grammar.tool_texts import text_terms
from unisono.text.parsers.values import schema_types, value_as_json

_NOTES = frozenset({"title", "description", "default", "examples", "deprecated", "$comment"})
_DEFINITIONS = ("$defs", "definitions", "$schema")


class Values:
    """Args:
    node: of the parameters; says what is before and behind keys and values.
    schema: of the parameters, which references point into.
    """

    def __init__(self, node: dict[str, Any], writer: Writer, schema: Any) -> None:
        self._node = node
        self._writer = writer
        known = schema if isinstance(schema, dict) else {}
        self._definitions = {name: known[name] for name in _DEFINITIONS if name in known}

    def member(self, name: str, schema: Any) -> str:
        """Symbols of one parameter.

        Raises:
            InvalidRequestError: its schema cannot be enforced so.
        """
        if any(letter in name for letter in '<>"\n=:{}'):
            raise _refused("a name with letters that marks have")
        key = self._writer.symbols([*self._node["key"], name])
        return f"{key} {self._writer.rules.named(self._value(schema, name))}"

    def any_member(self, key: str) -> str:
        """Symbols of a parameter of any name and value."""
        ways = [self._json(True, "")] if self._node["json"] != self._node["text"] else []
        if self._node["text"]:
            ways.append(self._text([], ""))
        value = self._writer.rules.named(" | ".join(ways))
        return f"{self._writer.symbols(self._node['key'])} /{key}/ {value}"

    def _value(self, schema: Any, name: str) -> str:
        types = schema_types(schema)
        if self._node["text"] is None or (types and "string" not in types):
            return self._json(schema, name)
        if _says_nothing(schema):
            return self._text([], name)
        if types == {"string"}:
            return self._text(text_terms({**schema, **self._definitions}), name)
        if not types:
            return self._json(schema, name)
        return self._mixed(schema, types, name)

    def _mixed(self, schema: Any, types: frozenset[str], name: str) -> str:
        """A value that may be a text or something else."""
        if self._node["tells"]:
            as_text = [self._text([], name)] if _is_plain(schema) else []
            return " | ".join([*as_text, self._json(schema, name)])
        if "enum" in schema:
            return " | ".join(self._one_of(schema["enum"], types, name))
        if not _is_plain(schema):
            raise _refused("a text of some kind, or something else")
        return self._text([], name)

    def _one_of(self, values: list[Any], types: frozenset[str], name: str) -> list[str]:
        texts = [value for value in values if isinstance(value, str)]
        if any(not value_as_json(text, types).startswith('"') for text in texts):
            raise _refused("a text that reads as something else")
        others = [value for value in values if not isinstance(value, str)]
        return [
            self._text(text_terms({"enum": texts}), name),
            self._json({"enum": others}, name),
        ]

    def _json(self, schema: Any, name: str) -> str:
        way = self._node["json"]
        if isinstance(schema, dict):
            schema = {**self._definitions, **schema}
        written = self._writer.json(schema)
        return f"{self._around(way['before'])} {written} {self._around(way['end'], name)}"

    def _text(self, terms: list[str], name: str) -> str:
        """A text up to what ends it, which has none of the letters of that in it."""
        way = self._node["text"]
        rules = self._writer.rules
        lead, *rest = [*way["end"], ""] if isinstance(way["end"][0], str) else ["", *way["end"]]
        text = " & ".join([rules.text_without(way["never"]), *terms])
        ended = rules.terminal(f"({text}) {self._writer.symbols(lead)}" if lead else text)
        return f"{self._around(way['before'])} {ended} {self._around(rest, name)}"

    def _around(self, nodes: list[Any], name: str = "") -> str:
        return self._writer.symbols([name if one == {"key": True} else one for one in nodes])


def _says_nothing(schema: Any) -> bool:
    return schema is True or (isinstance(schema, dict) and not schema.keys() - _NOTES)


def _is_plain(schema: Any) -> bool:
    """True where any text is allowed, and whatever else it reads as."""
    if not isinstance(schema, dict):
        return False
    keys = schema.keys() - _NOTES
    if keys in ({"anyOf"}, {"oneOf"}):
        return all(map(_is_plain_type, schema[next(iter(keys))]))
    return _is_plain_type(schema)


def _is_plain_type(schema: Any) -> bool:
    if not isinstance(schema, dict) or schema.keys() - _NOTES != {"type"}:
        return False
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return "integer" not in kinds or "number" in kinds


def _refused(what: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"tools cannot be enforced exactly, as this model writes calls: {what}.", param="tools"
    )
