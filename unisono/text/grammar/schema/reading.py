"""Reads a JSON Schema: every keyword is checked, and said anew in those that are enforced exactly.

References are resolved within the schema; what is only said of it is dropped.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from unisono.core.errors import InvalidRequestError
from unisono.text.grammar.ecma_pattern import PatternError, pattern_weight, rust_pattern
from unisono.text.grammar.schema.disjoint import are_disjoint
from unisono.text.grammar.schema.formats import BUILT_IN, FORMATS
from unisono.text.grammar.schema.formats import REFUSED as REFUSED_FORMATS
from unisono.text.grammar.schema.keywords import (
    COMBINED,
    PLAIN,
    REFUSED,
    TYPES,
    malformed,
    refuse,
)
from unisono.text.grammar.schema.negation import negated

_MAX_DEPTH = 100
_MAX_SCHEMAS = 30_000
_MAX_COUNT = 1 << 20
_MAX_EXACT = 1 << 53
"""Beyond it not every integer is a number of 64 bits."""
_MAX_WEIGHT = 40_000
"""Weight of a pattern, times the length that is asked for beside it."""
_KEY = 255
"""Characters of a key, for the weight of its pattern."""
_MAX_BRANCHES = 16
"""Branches of a oneOf that overlap."""
_OLD_DRAFT = re.compile(r"draft-0[3467]")
_OBJECT_KEYWORDS = ("properties", "patternProperties", "additionalProperties", "required")


class SchemaReader:
    """Args:
    root: the schema, JSON data.
    """

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._ignores_siblings = bool(_OLD_DRAFT.search(str(root.get("$schema", ""))))
        """Beside ``$ref`` nothing counts there."""
        self._names: dict[str, str] = {}
        self._num_read = 0
        self._num_ids = 0
        """Ids of the subschemas that are being read: references in them start elsewhere."""
        self.definitions: dict[str, Any] = {}

    def read(self, schema: Any, depth: int = 0) -> Any:
        """Raises:
        InvalidRequestError: it is no schema, or cannot be enforced exactly.
        """
        self._num_read += 1
        if depth > _MAX_DEPTH or self._num_read > _MAX_SCHEMAS:
            raise refuse("nesting", "the schema is too deep or too large")
        if isinstance(schema, bool):
            return schema
        if not isinstance(schema, dict):
            raise malformed("a schema")
        if depth and _has_id(schema):
            self._num_ids += 1
        try:
            return self._read(schema, depth)
        finally:
            if depth and _has_id(schema):
                self._num_ids -= 1

    def _read(self, schema: dict[str, Any], depth: int) -> Any:
        if "$ref" in schema and self._ignores_siblings:
            return {"$ref": self._reference(schema["$ref"], depth)}
        for keyword in sorted(REFUSED & schema.keys()):
            raise refuse(keyword)
        return self._said_anew(schema, depth)

    def _said_anew(self, schema: dict[str, Any], depth: int) -> Any:
        result: dict[str, Any] = {}
        extra: list[Any] = []
        for keyword in _in_order(schema):
            value = schema[keyword]
            if keyword in PLAIN:
                result.update(self._plain(keyword, value, schema, extra, depth + 1))
            elif keyword in COMBINED:
                self._combined(keyword, value, schema, result, extra, depth + 1)
        if _is_unique(schema) and not _has_one_item(result):
            raise refuse("uniqueItems")
        self._bound_properties(result, extra)
        if extra:
            result["allOf"] = [*result.get("allOf", ()), *extra]
        return result or True

    # -- keywords that say what a value of a type is ------------------------------------------

    def _plain(
        self, keyword: str, value: Any, schema: dict[str, Any], extra: list[Any], depth: int
    ) -> dict[str, Any]:
        match keyword:
            case "type":
                return {"type": _types(value)}
            case "enum" | "const":
                _check_exact(value, keyword)
                if keyword == "enum" and not isinstance(value, list):
                    raise malformed("enum")
                return {keyword: value}
            case "required":
                return {"required": _names(value, keyword)}
            case "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" | "multipleOf":
                return _number(keyword, value, schema)
            case "pattern":
                length = schema.get("maxLength", schema.get("minLength", 1))
                return {"pattern": _pattern(value, keyword, _count(length, "maxLength"))}
            case "format":
                return _format(value, schema, extra)
            case "properties":
                return {"properties": self._map(value, keyword, depth)}
            case "patternProperties":
                read = self._map(value, keyword, depth)
                return {keyword: {_pattern(name, keyword, _KEY): one for name, one in read.items()}}
            case "additionalProperties":
                return {keyword: self.read(value, depth)}
            case "items" | "prefixItems":
                return self._items(schema, depth)
        return {keyword: _count(value, keyword)}

    def _map(self, value: Any, keyword: str, depth: int) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise malformed(keyword)
        return {name: self.read(one, depth) for name, one in value.items()}

    def _list(self, value: Any, keyword: str, depth: int) -> list[Any]:
        if not isinstance(value, list) or not value:
            raise malformed(keyword)
        return [self.read(one, depth) for one in value]

    def _items(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        items, prefix = schema.get("items", True), schema.get("prefixItems", [])
        if isinstance(items, list):
            if "prefixItems" in schema:
                raise refuse("prefixItems", "beside a list of items")
            items, prefix = schema.get("additionalItems", True), items
        elif self._ignores_siblings:
            prefix = []
        if not isinstance(prefix, list):
            raise malformed("prefixItems")
        first = [self.read(one, depth) for one in prefix]
        return {"prefixItems": first, "items": self.read(items, depth)}

    # -- keywords that combine schemas --------------------------------------------------------

    def _combined(
        self,
        keyword: str,
        value: Any,
        schema: dict[str, Any],
        result: dict[str, Any],
        extra: list[Any],
        depth: int,
    ) -> None:
        match keyword:
            case "$ref":
                result["$ref"] = self._reference(value, depth)
            case "anyOf" | "allOf":
                result[keyword] = self._list(value, keyword, depth)
            case "oneOf":
                result.setdefault("oneOf", None)  # its place among the others
                branches = self._one_of(self._list(value, keyword, depth), _outer(schema))
                del result["oneOf"]
                if "anyOf" in schema:
                    extra.append({"anyOf": branches})
                else:
                    result["anyOf"] = branches
            case "not":
                extra.append(negated(self.read(value, depth), self.definitions))
            case "if":
                extra += self._if(schema, depth)
            case "dependencies" | "dependentRequired" | "dependentSchemas":
                extra += self._dependencies(keyword, value, depth)
            case "propertyNames":
                extra.append(self._property_names(value, schema, depth))

    def _one_of(self, branches: list[Any], outer: dict[str, Any]) -> list[Any]:
        """The same as branches of an anyOf."""
        places = range(len(branches))
        overlaps = {
            i: [j for j in places if j != i and not self._part(branches[i], branches[j], outer)]
            for i in places
        }
        if sum(map(len, overlaps.values())) > _MAX_BRANCHES * 2:
            raise refuse("oneOf", "branches overlap")
        try:
            return [
                {"allOf": [branch, *(negated(branches[j], self.definitions) for j in overlaps[i])]}
                if overlaps[i]
                else branch
                for i, branch in enumerate(branches)
            ]
        except InvalidRequestError as error:
            raise refuse("oneOf", "branches may overlap") from error

    def _part(self, a: Any, b: Any, outer: dict[str, Any]) -> bool:
        if are_disjoint(a, b, self.definitions):
            return True
        return bool(outer) and are_disjoint(
            {"allOf": [a, outer], **outer}, {"allOf": [b, outer], **outer}, self.definitions
        )

    def _if(self, schema: dict[str, Any], depth: int) -> list[Any]:
        condition = self.read(schema["if"], depth)
        then = self.read(schema.get("then", True), depth)
        otherwise = self.read(schema.get("else", True), depth)
        if then is True and otherwise is True:
            return []
        opposite = negated(condition, self.definitions)
        return [{"anyOf": [{"allOf": [condition, then]}, {"allOf": [opposite, otherwise]}]}]

    def _dependencies(self, keyword: str, value: Any, depth: int) -> list[Any]:
        if not isinstance(value, dict):
            raise malformed(keyword)
        found = []
        for name, wanted in value.items():
            if isinstance(wanted, str):
                wanted = [wanted]
            has_name: dict[str, Any] = {"type": "object", "required": [name]}
            if isinstance(wanted, list) and keyword != "dependentSchemas":
                has_name["required"] += [one for one in _names(wanted, keyword) if one != name]
                then: Any = has_name
            else:
                then = {"allOf": [has_name, self.read(wanted, depth)]}
            found.append({"anyOf": [{"properties": {name: False}}, then]})
        return found

    def _property_names(self, value: Any, schema: dict[str, Any], depth: int) -> Any:
        read = self.read(value, depth)
        if read is True:
            return True
        is_pattern = isinstance(read, dict) and read.keys() <= {"pattern", "type"}
        if not is_pattern or read.get("type", "string") != "string" or "pattern" not in read:
            raise refuse("propertyNames", "other than a pattern")
        return {"patternProperties": {read["pattern"]: True}, "additionalProperties": False}

    def _bound_properties(self, result: dict[str, Any], extra: list[Any]) -> None:
        """At least so many properties: as required ones, because a key may be written twice."""
        least = result.get("minProperties", 0)
        num_required = len(result.get("required", ()))
        if least <= num_required:
            result.pop("minProperties", None)
            return
        names = [name for name, one in result.get("properties", {}).items() if one is not False]
        is_closed = result.get("additionalProperties") is False and not result.get(
            "patternProperties"
        )
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

    # -- references ---------------------------------------------------------------------------

    def _reference(self, value: Any, depth: int) -> str:
        """The same schema as one of ``definitions``."""
        if not isinstance(value, str):
            raise malformed("$ref")
        pointer = self._pointer(value)
        if pointer not in self._names:
            target = self._target(pointer)
            name = self._names[pointer] = str(len(self._names))
            self.definitions[name] = self.read(target, depth + 1)
        return f"#/$defs/{self._names[pointer]}"

    def _pointer(self, value: str) -> str:
        base, _, fragment = value.partition("#")
        own = str(self._root.get("$id", self._root.get("id", ""))).partition("#")[0]
        if (base and base != own) or self._num_ids:
            raise refuse("$ref", "to another document")
        if fragment and not fragment.startswith("/"):
            raise refuse("$ref", "to an anchor")
        return unquote(fragment)

    def _target(self, pointer: str) -> Any:
        found: Any = self._root
        for part in pointer.split("/")[1:]:
            if found is not self._root and isinstance(found, dict) and _has_id(found):
                raise refuse("$ref", "into a schema with an id of its own")
            name = part.replace("~1", "/").replace("~0", "~")
            try:
                found = found[int(name) if isinstance(found, list) else name]
            except (KeyError, ValueError, IndexError, TypeError) as error:
                raise refuse("$ref", "to nothing") from error
        return found


def _has_id(schema: dict[str, Any]) -> bool:
    return isinstance(schema.get("$id", schema.get("id")), str)


def _in_order(schema: dict[str, Any]) -> list[str]:
    """Its keywords, those of objects side by side where the first of them is: the order of keys in
    an answer follows that of the keywords."""
    group = [name for name in _OBJECT_KEYWORDS if name in schema]
    keywords: list[str] = []
    for name in schema:
        if name in group:
            keywords += group
            group = []
        elif name not in _OBJECT_KEYWORDS:
            keywords.append(name)
    if "prefixItems" in keywords and "items" in keywords:
        keywords.remove("prefixItems")
    return keywords


def _outer(schema: dict[str, Any]) -> dict[str, Any]:
    """The type that a schema says beside its branches."""
    return {"type": schema["type"]} if "type" in schema else {}


def _types(value: Any) -> Any:
    types = [value] if isinstance(value, str) else value
    known = {*TYPES, "integer"}
    if not isinstance(types, list) or not all(isinstance(t, str) and t in known for t in types):
        raise malformed("type")
    return value


def _names(value: Any, keyword: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise malformed(keyword)
    return list(dict.fromkeys(value))


def _count(value: Any, keyword: str) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != int(value):
        raise malformed(keyword)
    if value < 0 or (value > _MAX_COUNT and keyword.startswith("min")):
        raise refuse(keyword, f"more than {_MAX_COUNT}") if value > 0 else malformed(keyword)
    return min(int(value), _MAX_COUNT)


def _number(keyword: str, value: Any, schema: dict[str, Any]) -> dict[str, Any]:
    if isinstance(value, bool) and keyword.startswith("exclusive"):
        bound = schema.get(keyword.removeprefix("exclusive").lower())
        return {} if bound is None or not value else _number(keyword, bound, schema)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise malformed(keyword)
    _check_exact(value, keyword)
    if keyword == "multipleOf" and value <= 0:
        raise malformed(keyword)
    return {keyword: value}


def _check_exact(value: Any, keyword: str) -> None:
    """Raises for a number that has no exact counterpart among those of 64 bits."""
    if isinstance(value, list):
        for one in value:
            _check_exact(one, keyword)
    elif isinstance(value, dict):
        _check_exact(list(value.values()), keyword)
    elif isinstance(value, (int, float)) and not abs(value) <= _MAX_EXACT:
        raise refuse(keyword, "a number of more than 53 bits")


def _pattern(value: Any, keyword: str, length: int = 1) -> str:
    if not isinstance(value, str):
        raise malformed(keyword)
    try:
        translated, weight = rust_pattern(value), pattern_weight(value)
    except PatternError as error:
        raise refuse(keyword, str(error)) from error
    if weight * max(length, 1) > _MAX_WEIGHT:
        raise refuse(keyword, "it takes too much, with its repetitions and the length beside it")
    return translated


def _format(value: Any, schema: dict[str, Any], extra: list[Any]) -> dict[str, Any]:
    if not isinstance(value, str):
        raise malformed("format")
    if value in BUILT_IN:
        return {"format": value}
    if value in REFUSED_FORMATS:
        raise refuse("format", value)
    if value in FORMATS:
        extra.append({**_outer(schema), **FORMATS[value]})
    return {}


def _is_unique(schema: dict[str, Any]) -> bool:
    return bool(schema.get("uniqueItems"))


def _has_one_item(schema: dict[str, Any]) -> bool:
    types = schema.get("type", TYPES)
    return schema.get("maxItems", 2) <= 1 or "array" not in (
        [types] if isinstance(types, str) else types
    )
