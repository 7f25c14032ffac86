"""Values of single keywords: checked, and said in those that are enforced exactly."""

from __future__ import annotations

from typing import Any

from unisono.text.grammar.ecma_pattern import PatternError, pattern_weight, rust_pattern
from unisono.text.grammar.schema.formats import BUILT_IN, FORMATS
from unisono.text.grammar.schema.formats import REFUSED as REFUSED_FORMATS
from unisono.text.grammar.schema.keywords import TYPES, malformed, refuse

_MAX_COUNT = 1 << 20
_MAX_EXACT = 1 << 53
"""Beyond it not every integer is a number of 64 bits."""
_MAX_WEIGHT = 40_000
"""Weight of a pattern, times the length that is asked for beside it."""


def outer(schema: dict[str, Any]) -> dict[str, Any]:
    """The type that a schema says beside its branches."""
    return {"type": schema["type"]} if "type" in schema else {}


def type_value(value: Any) -> Any:
    types = [value] if isinstance(value, str) else value
    known = {*TYPES, "integer"}
    if not isinstance(types, list) or not all(isinstance(t, str) and t in known for t in types):
        raise malformed("type")
    return value


def names(value: Any, keyword: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise malformed(keyword)
    return list(dict.fromkeys(value))


def count(value: Any, keyword: str) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != int(value):
        raise malformed(keyword)
    if value < 0 or (value > _MAX_COUNT and keyword.startswith("min")):
        raise refuse(keyword, f"more than {_MAX_COUNT}") if value > 0 else malformed(keyword)
    return min(int(value), _MAX_COUNT)


def number(keyword: str, value: Any, schema: dict[str, Any]) -> dict[str, Any]:
    if isinstance(value, bool) and keyword.startswith("exclusive"):
        bound = schema.get(keyword.removeprefix("exclusive").lower())
        return {} if bound is None or not value else number(keyword, bound, schema)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise malformed(keyword)
    check_exact(value, keyword)
    if keyword == "multipleOf" and value <= 0:
        raise malformed(keyword)
    return {keyword: value}


def check_exact(value: Any, keyword: str) -> None:
    """Raises for a number that has no exact counterpart among those of 64 bits."""
    if isinstance(value, list):
        for one in value:
            check_exact(one, keyword)
    elif isinstance(value, dict):
        check_exact(list(value.values()), keyword)
    elif isinstance(value, (int, float)) and not abs(value) <= _MAX_EXACT:
        raise refuse(keyword, "a number of more than 53 bits")


def pattern(value: Any, keyword: str, length: int = 1) -> str:
    if not isinstance(value, str):
        raise malformed(keyword)
    try:
        translated, weight = rust_pattern(value), pattern_weight(value)
    except PatternError as error:
        raise refuse(keyword, str(error)) from error
    if weight * max(length, 1) > _MAX_WEIGHT:
        raise refuse(keyword, "it takes too much, with its repetitions and the length beside it")
    return translated


def format_value(value: Any, schema: dict[str, Any], extra: list[Any]) -> dict[str, Any]:
    if not isinstance(value, str):
        raise malformed("format")
    if value in BUILT_IN:
        return {"format": value}
    if value in REFUSED_FORMATS:
        raise refuse("format", value)
    if value in FORMATS:
        extra.append({**outer(schema), **FORMATS[value]})
    return {}
