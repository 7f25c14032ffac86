"""JSON of a parameter, from the text that a model writes for it and the tool's schema."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from unisono.text.parsers.literals import literal_as_json

_TYPES = {dict: "object", list: "array", str: "string", bool: "boolean", type(None): "null"}


def value_as_json(text: str, types: frozenset[str]) -> str:
    """JSON of the value that a text says, or else of the text.

    Args:
        types: JSON types that the schema allows; none where it says nothing.
    """
    if types != {"string"}:
        try:
            written = literal_as_json(text)
        except ValueError:
            pass
        else:
            if "string" not in types or _type(written) in types - {"string"}:
                return written
    return json.dumps(text, ensure_ascii=False)


def schema_types(schema: object) -> frozenset[str]:
    """The JSON types that a schema allows, as far as it says so itself."""
    if not isinstance(schema, Mapping):
        return frozenset()
    values = schema.get("enum")
    if isinstance(values, list) and values:
        return frozenset(_TYPES.get(type(value), "number") for value in values)
    kinds = schema.get("type")
    if isinstance(kinds, str):
        kinds = [kinds]
    if isinstance(kinds, list):
        return frozenset(
            "number" if kind == "integer" else kind for kind in kinds if isinstance(kind, str)
        )
    choices = schema.get("anyOf") or schema.get("oneOf")
    if isinstance(choices, list) and choices:
        each = [schema_types(choice) for choice in choices]
        return frozenset().union(*each) if all(each) else frozenset()
    return frozenset()


def property_schema(schema: object, name: str) -> Any:
    """The schema of a member; None where there is none."""
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    return properties.get(name) if isinstance(properties, Mapping) else None


def _type(written: str) -> str:
    kinds = {'"': "string", "{": "object", "[": "array", "n": "null"}
    return "boolean" if written in ("true", "false") else kinds.get(written[:1], "number")
