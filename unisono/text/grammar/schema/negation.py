"""The complement of a schema, as a schema without ``not``; refused where there is none.

Works on schemas that have been read (``reading.py``): their references are resolved by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unisono.text.grammar.ecma_pattern import literal_pattern
from unisono.text.grammar.schema.keywords import TYPES, refuse

Schema = Mapping[str, Any] | bool
_MAX_DEPTH = 16


def negated(schema: Schema, definitions: Mapping[str, Any], depth: int = 0) -> Any:
    """Raises:
    InvalidRequestError: the complement cannot be said.
    """
    if isinstance(schema, bool):
        return not schema
    if depth > _MAX_DEPTH:
        raise refuse("not", "too deep")
    branches: list[Any] = []
    for keyword, value in schema.items():
        if keyword == "$ref":
            target = definitions.get(value.rpartition("/")[2])
            if target is None:
                raise refuse("not", "a reference to itself")
            branches.append(negated(target, definitions, depth + 1))
        elif keyword == "allOf":
            branches += [negated(one, definitions, depth + 1) for one in value]
        elif keyword == "anyOf":
            branches.append({"allOf": [negated(one, definitions, depth + 1) for one in value]})
        else:
            branches += _branches(keyword, value, schema, definitions, depth)
    branches = [branch for branch in branches if branch is not False]
    if True in branches:
        return True
    return {"anyOf": branches} if branches else False


def _branches(
    keyword: str, value: Any, schema: Mapping[str, Any], definitions: Mapping[str, Any], depth: int
) -> list[Any]:
    """Schemas one of which holds where a keyword does not."""
    match keyword:
        case "type":
            return _other_types(value)
        case "const" | "enum":
            return _other_values([value] if keyword == "const" else value)
        case "required":
            return [{"type": "object", "properties": {name: False}} for name in value]
        case "properties":
            return [
                {"type": "object", "properties": {name: opposite}, "required": [name]}
                for name, one in value.items()
                if (opposite := negated(one, definitions, depth + 1)) is not False
            ]
        case "minLength" | "minItems" | "minProperties" if value > 0:
            return [{"type": _TYPE_OF[keyword], f"max{keyword[3:]}": value - 1}]
        case "maxLength" | "maxItems" | "maxProperties":
            return [{"type": _TYPE_OF[keyword], f"min{keyword[3:]}": value + 1}]
        case "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum":
            return [{"type": "number", _OPPOSITES[keyword]: value}]
        case "minLength" | "minItems" | "minProperties":
            return []
        case "items" | "additionalProperties" if value is True:
            return []
    raise refuse("not", f"around {keyword}")


_TYPE_OF = {
    "minLength": "string",
    "maxLength": "string",
    "minItems": "array",
    "maxItems": "array",
    "minProperties": "object",
    "maxProperties": "object",
}
_OPPOSITES = {
    "minimum": "exclusiveMaximum",
    "maximum": "exclusiveMinimum",
    "exclusiveMinimum": "maximum",
    "exclusiveMaximum": "minimum",
}


def _other_types(given: str | list[str]) -> list[Any]:
    types = {given} if isinstance(given, str) else set(given)
    if "integer" in types and "number" not in types:
        raise refuse("not", "around the type integer")
    return [{"type": one} for one in TYPES if one not in types]


def _other_values(values: list[Any]) -> list[Any]:
    """Everything but some values, type by type."""
    if any(isinstance(value, (dict, list)) for value in values):
        raise refuse("not", "around objects or lists as values")
    kinds: list[Any] = ["object", "array"]
    branches: list[Any] = [{"type": kind} for kind in kinds]
    if None not in values:
        branches.append({"type": "null"})
    branches += [{"const": one} for one in (False, True) if not _has(values, one)]
    numbers = sorted({v for v in values if isinstance(v, (int, float)) and not isinstance(v, bool)})
    branches += _between(numbers)
    texts = [value for value in values if isinstance(value, str)]
    branches.append({"type": "string", **({"pattern": other_texts(texts)} if texts else {})})
    return branches


def _has(values: list[Any], wanted: bool) -> bool:
    return any(value is wanted for value in values)


def _between(numbers: list[float]) -> list[Any]:
    """The numbers that are none of these."""
    lows, highs = [None, *numbers], [*numbers, None]
    return [
        {
            "type": "number",
            **({} if low is None else {"exclusiveMinimum": low}),
            **({} if high is None else {"exclusiveMaximum": high}),
        }
        for low, high in zip(lows, highs, strict=True)
    ]


def other_texts(texts: list[str]) -> str:
    """A pattern that all texts match but these."""
    tree: dict[str, Any] = {}
    for text in texts:
        node = tree
        for char in text:
            node = node.setdefault(char, {})
        node[""] = {}
    return f"^{_other_than(tree)}$"


def _other_than(node: dict[str, Any]) -> str:
    chars = [char for char in node if char]
    branches = [] if "" in node else [""]
    branches += [literal_pattern(char) + _other_than(node[char]) for char in chars]
    codes = "".join(f"\\x{{{ord(char):x}}}" for char in chars)
    branches.append(f"[^{codes}](?s:.*)" if chars else "(?s:.+)")
    return f"(?:{'|'.join(branches)})"
