"""Proof that no value satisfies two schemas. Works on schemas that have been read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unisono.text.grammar.schema.keywords import TYPES

Schema = Mapping[str, Any] | bool
_MAX_DEPTH = 8


def are_disjoint(
    a: Schema, b: Schema, definitions: Mapping[str, Any], depth: int = _MAX_DEPTH
) -> bool:
    """False where there is no proof."""
    if a is False or b is False:
        return True
    if depth == 0 or a is True or b is True:
        return False
    assert isinstance(a, Mapping)
    assert isinstance(b, Mapping)
    for one, other in ((a, b), (b, a)):
        if any(
            are_disjoint(part, other, definitions, depth - 1) for part in _parts(one, definitions)
        ):
            return True
        branches = one.get("anyOf")
        if branches and all(are_disjoint(part, other, definitions, depth - 1) for part in branches):
            return True
    common = types_of(a) & types_of(b)
    return all(_is_disjoint_in(kind, a, b, definitions, depth) for kind in common)


def _parts(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> list[Schema]:
    """Schemas that are satisfied where this one is."""
    parts = list(schema.get("allOf", ()))
    target = definitions.get(str(schema.get("$ref")).rpartition("/")[2])
    return parts if target is None else [*parts, target]


def types_of(schema: Mapping[str, Any]) -> frozenset[str]:
    """Types that its values may have."""
    types = schema.get("type", TYPES)
    given = [types] if isinstance(types, str) else types
    found = frozenset("number" if one == "integer" else one for one in given)
    values = values_of(schema)
    return found if values is None else found & frozenset(map(_type_of, values))


def values_of(schema: Mapping[str, Any]) -> list[Any] | None:
    """Its values, where they are listed."""
    if "const" in schema:
        return [schema["const"]]
    values: list[Any] | None = schema.get("enum")
    return values


def _type_of(value: Any) -> str:
    if value is None:
        return "null"
    kinds = ((bool, "boolean"), ((int, float), "number"), (str, "string"), (list, "array"))
    return next((name for kind, name in kinds if isinstance(value, kind)), "object")


def _is_disjoint_in(
    kind: str,
    a: Mapping[str, Any],
    b: Mapping[str, Any],
    definitions: Mapping[str, Any],
    depth: int,
) -> bool:
    """No value of this type satisfies both."""
    values = [None if (found := values_of(one)) is None else _of(kind, found) for one in (a, b)]
    if values[0] is not None and values[1] is not None and not _share(values[0], values[1]):
        return True
    match kind:
        case "string":
            return _ranges_part(a, b, "minLength", "maxLength")
        case "number":
            return _ranges_part(a, b, "minimum", "maximum")
        case "array":
            return _ranges_part(a, b, "minItems", "maxItems") or _items_part(
                a, b, definitions, depth
            )
        case "object":
            return any(
                are_disjoint(_property(a, name), _property(b, name), definitions, depth - 1)
                for name in {*a.get("required", ()), *b.get("required", ())}
            )
    return False


def _of(kind: str, values: list[Any]) -> list[Any]:
    return [value for value in values if _type_of(value) == kind]


def _share(a: list[Any], b: list[Any]) -> bool:
    return any(one == other for one in a for other in b)


def _ranges_part(a: Mapping[str, Any], b: Mapping[str, Any], low: str, high: str) -> bool:
    return any(
        high in one and low in other and one[high] < other[low] for one, other in ((a, b), (b, a))
    )


def _items_part(
    a: Mapping[str, Any], b: Mapping[str, Any], definitions: Mapping[str, Any], depth: int
) -> bool:
    if not a.get("minItems") and not b.get("minItems"):
        return False
    return are_disjoint(_first_item(a), _first_item(b), definitions, depth - 1)


def _first_item(schema: Mapping[str, Any]) -> Schema:
    prefix = schema.get("prefixItems")
    first: Schema = prefix[0] if prefix else schema.get("items", True)
    return first


def _property(schema: Mapping[str, Any], name: str) -> Schema:
    """A schema that the property satisfies, if it is there."""
    if name in schema.get("properties", {}):
        found: Schema = schema["properties"][name]
        return found
    if schema.get("patternProperties"):
        return True
    rest: Schema = schema.get("additionalProperties", True)
    return rest
