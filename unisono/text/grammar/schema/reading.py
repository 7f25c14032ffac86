"""Reads a JSON Schema: every keyword is checked, and said anew in those that are enforced exactly.

References are resolved within the schema; what is only said of it is dropped.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from unisono.text.grammar.schema.combining import (
    bound_properties,
    dependencies,
    if_then_else,
    one_of,
    property_names,
)
from unisono.text.grammar.schema.keyword_values import (
    check_exact,
    count,
    format_value,
    names,
    number,
    outer,
    pattern,
    type_value,
)
from unisono.text.grammar.schema.keywords import COMBINED, PLAIN, REFUSED, TYPES, malformed, refuse
from unisono.text.grammar.schema.negation import negated
from unisono.text.grammar.schema.references import References, has_id

_MAX_DEPTH = 100
_MAX_SCHEMAS = 30_000
_KEY = 255
"""Characters of a key, for the weight of its pattern."""
_OLD_DRAFT = re.compile(r"draft-0[3467]")
_OBJECT_KEYWORDS = ("properties", "patternProperties", "additionalProperties", "required")


class SchemaReader:
    """Args:
    root: the schema, JSON data.
    """

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._references = References(root)
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
        if depth and has_id(schema):
            self._num_ids += 1
        try:
            return self._read(schema, depth)
        finally:
            if depth and has_id(schema):
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
        bound_properties(result, extra)
        if extra:
            result["allOf"] = [*result.get("allOf", ()), *extra]
        return result or True

    # -- keywords that say what a value of a type is ------------------------------------------

    def _plain(
        self, keyword: str, value: Any, schema: dict[str, Any], extra: list[Any], depth: int
    ) -> dict[str, Any]:
        match keyword:
            case "type":
                return {"type": type_value(value)}
            case "enum" | "const":
                check_exact(value, keyword)
                if keyword == "enum" and not isinstance(value, list):
                    raise malformed("enum")
                return {keyword: value}
            case "required":
                return {"required": names(value, keyword)}
            case "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" | "multipleOf":
                return number(keyword, value, schema)
            case "pattern":
                length = schema.get("maxLength", schema.get("minLength", 1))
                return {"pattern": pattern(value, keyword, count(length, "maxLength"))}
            case "format":
                return format_value(value, schema, extra)
            case "properties":
                return {"properties": self._map(value, keyword, depth)}
            case "patternProperties":
                read = self._map(value, keyword, depth)
                return {keyword: {pattern(name, keyword, _KEY): one for name, one in read.items()}}
            case "additionalProperties":
                return {keyword: self.read(value, depth)}
            case "items" | "prefixItems":
                return self._items(schema, depth)
        return {keyword: count(value, keyword)}

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
                branches = one_of(
                    self._list(value, keyword, depth), outer(schema), self.definitions
                )
                del result["oneOf"]
                if "anyOf" in schema:
                    extra.append({"anyOf": branches})
                else:
                    result["anyOf"] = branches
            case "not":
                extra.append(negated(self.read(value, depth), self.definitions))
            case "if":
                extra += if_then_else(schema, partial(self.read, depth=depth), self.definitions)
            case "dependencies" | "dependentRequired" | "dependentSchemas":
                extra += dependencies(keyword, value, partial(self.read, depth=depth))
            case "propertyNames":
                extra.append(property_names(self.read(value, depth)))

    # -- references ---------------------------------------------------------------------------

    def _reference(self, value: Any, depth: int) -> str:
        """The same schema as one of ``definitions``."""
        if not isinstance(value, str):
            raise malformed("$ref")
        pointer = self._references.pointer(value, is_elsewhere=bool(self._num_ids))
        if pointer not in self._names:
            target = self._references.target(pointer)
            name = self._names[pointer] = str(len(self._names))
            self.definitions[name] = self.read(target, depth + 1)
        return f"#/$defs/{self._names[pointer]}"


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


def _is_unique(schema: dict[str, Any]) -> bool:
    return bool(schema.get("uniqueItems"))


def _has_one_item(schema: dict[str, Any]) -> bool:
    types = schema.get("type", TYPES)
    return schema.get("maxItems", 2) <= 1 or "array" not in (
        [types] if isinstance(types, str) else types
    )
