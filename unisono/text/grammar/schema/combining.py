"""Keywords that combine schemas, said anew in ``anyOf``, ``allOf`` and ``required``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from unisono.core.errors import InvalidRequestError
from unisono.text.grammar.schema.disjoint import are_disjoint
from unisono.text.grammar.schema.keyword_values import names
from unisono.text.grammar.schema.keywords import TYPES, malformed, refuse
from unisono.text.grammar.schema.negation import negated

_MAX_BRANCHES = 16
"""Branches of a oneOf that overlap."""
Read = Callable[[Any], Any]
"""Reads a subschema."""
Definitions = dict[str, Any]


def one_of(branches: list[Any], beside: dict[str, Any], definitions: Definitions) -> list[Any]:
    """The same as branches of an anyOf."""
    places = range(len(branches))
    overlaps = {
        i: [
            j for j in places if j != i and not _part(branches[i], branches[j], beside, definitions)
        ]
        for i in places
    }
    if sum(map(len, overlaps.values())) > _MAX_BRANCHES * 2:
        raise refuse("oneOf", "branches overlap")
    try:
        return [
            {"allOf": [branch, *(negated(branches[j], definitions) for j in overlaps[i])]}
            if overlaps[i]
            else branch
            for i, branch in enumerate(branches)
        ]
    except InvalidRequestError as error:
        raise refuse("oneOf", "branches may overlap") from error


def _part(a: Any, b: Any, beside: dict[str, Any], definitions: Definitions) -> bool:
    if are_disjoint(a, b, definitions):
        return True
    return bool(beside) and are_disjoint(
        {"allOf": [a, beside], **beside}, {"allOf": [b, beside], **beside}, definitions
    )


def if_then_else(schema: dict[str, Any], read: Read, definitions: Definitions) -> list[Any]:
    condition = read(schema["if"])
    then = read(schema.get("then", True))
    otherwise = read(schema.get("else", True))
    if then is True and otherwise is True:
        return []
    opposite = negated(condition, definitions)
    return [{"anyOf": [{"allOf": [condition, then]}, {"allOf": [opposite, otherwise]}]}]


def dependencies(keyword: str, value: Any, read: Read) -> list[Any]:
    if not isinstance(value, dict):
        raise malformed(keyword)
    found = []
    for name, wanted in value.items():
        if isinstance(wanted, str):
            wanted = [wanted]
        has_name: dict[str, Any] = {"type": "object", "required": [name]}
        if isinstance(wanted, list) and keyword != "dependentSchemas":
            has_name["required"] += [one for one in names(wanted, keyword) if one != name]
            then: Any = has_name
        else:
            then = {"allOf": [has_name, read(wanted)]}
        found.append({"anyOf": [{"properties": {name: False}}, then]})
    return found


def property_names(read: Any) -> Any:
    """Properties whose names are so; ``read`` is what has been read of the keyword."""
    if read is True:
        return True
    is_pattern = isinstance(read, dict) and read.keys() <= {"pattern", "type"}
    if not is_pattern or read.get("type", "string") != "string" or "pattern" not in read:
        raise refuse("propertyNames", "other than a pattern")
    return {"patternProperties": {read["pattern"]: True}, "additionalProperties": False}


def bound_properties(result: dict[str, Any], extra: list[Any]) -> None:
    """At least so many properties: as required ones, because a key may be written twice."""
    least = result.get("minProperties", 0)
    num_required = len(result.get("required", ()))
    if least <= num_required:
        result.pop("minProperties", None)
        return
    names = [name for name, one in result.get("properties", {}).items() if one is not False]
    is_closed = result.get("additionalProperties") is False and not result.get("patternProperties")
    if least > 1 or "allOf" in result or "$ref" in result:
        raise refuse("minProperties", "above 1")
    if names and is_closed:
        del result["minProperties"]
        one_of_them: list[Any] = [{"required": [name]} for name in names]
        others = [{"type": one} for one in TYPES if one != "object"]
        extra.append(
            {
                "anyOf": one_of_them
                if result.get("type") == "object"
                else [*({"type": "object", **one} for one in one_of_them), *others]
            }
        )
    elif names:
        raise refuse("minProperties", "beside optional properties")
