"""Leaves out of a schema what no finite value satisfies, such as an object that requires one of
its own kind: an answer that began it could never end. Works on schemas that have been read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def with_an_end(root: Any, definitions: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The schema and its definitions, with ``False`` for references that lead nowhere."""
    ending: set[str] = set()
    while True:
        more = {name for name, one in definitions.items() if _ends(one, ending)}
        if more == ending:
            break
        ending = more
    pruned = {name: _pruned(one, ending) for name, one in definitions.items() if name in ending}
    return (_pruned(root, ending) if _ends(root, ending) else False), pruned


def _ends(schema: Any, ending: set[str]) -> bool:
    """False where each value would be endless, as far as is known of the definitions."""
    if isinstance(schema, bool):
        return schema
    if "$ref" in schema and _name(schema) not in ending:
        return False
    if "anyOf" in schema and not any(_ends(one, ending) for one in schema["anyOf"]):
        return False
    if not all(_ends(one, ending) for one in schema.get("allOf", ())):
        return False
    if schema.get("type") == "object":
        return all(_ends(_property(schema, name), ending) for name in schema.get("required", ()))
    if schema.get("type") == "array":
        least = schema.get("minItems", 0)
        prefix = schema.get("prefixItems", [])[:least]
        rest = [schema.get("items", True)] if least > len(prefix) else []
        return all(_ends(one, ending) for one in (*prefix, *rest))
    return True


def _property(schema: Mapping[str, Any], name: str) -> Any:
    known = schema.get("properties", {})
    if name in known:
        return known[name]
    return True if "patternProperties" in schema else schema.get("additionalProperties", True)


def _name(schema: Mapping[str, Any]) -> str:
    return str(schema["$ref"]).rpartition("/")[2]


def _pruned(schema: Any, ending: set[str]) -> Any:
    if isinstance(schema, bool):
        return schema
    if not _ends(schema, ending):
        return False
    found = dict(schema)
    for keyword in ("properties", "patternProperties"):
        if keyword in found:
            found[keyword] = {name: _pruned(one, ending) for name, one in found[keyword].items()}
    for keyword in ("anyOf", "allOf", "prefixItems"):
        if keyword in found:
            found[keyword] = [_pruned(one, ending) for one in found[keyword]]
    for keyword in ("items", "additionalProperties"):
        if keyword in found:
            found[keyword] = _pruned(found[keyword], ending)
    return found
