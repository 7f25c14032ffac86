"""Texts by a JSON Schema, as they stand: terms of a terminal that all of the text matches."""

from __future__ import annotations

import re
from typing import Any

from unisono.core.errors import InvalidRequestError
from unisono.text.grammar.ecma_pattern import literal_pattern
from unisono.text.grammar.json_schema import exact_schema

_ANCHOR = re.compile(r"(?<![\\\[])\^|(?<!\\)\$")
_MAX_LENGTH = 1 << 16


def text_terms(schema: dict[str, Any]) -> list[str]:
    """Raises:
    InvalidRequestError: the schema says something that terms cannot.
    """
    return _terms(exact_schema(schema, "tools"))


def _terms(schema: Any) -> list[str]:
    if schema is True:
        return []
    if not isinstance(schema, dict):
        raise _refused("a text that nothing satisfies")
    terms: list[str] = []
    for keyword, value in schema.items():
        match keyword:
            case "type" | "minLength" | "$defs":
                continue
            case "enum" | "const":
                texts = value if keyword == "enum" else [value]
                words = [literal_pattern(text) for text in texts if isinstance(text, str)]
                terms.append(f"/({'|'.join(words)})/")
            case "pattern":
                terms.append(f"/{_whole(value)}/")
            case "maxLength":
                continue
            case "allOf":
                terms += [term for one in value for term in _terms(one)]
            case _:
                raise _refused(keyword)
    return terms + _length(schema)


def _length(schema: dict[str, Any]) -> list[str]:
    least, most = schema.get("minLength", 0), schema.get("maxLength")
    if not least and most is None:
        return []
    if max(least, most or 0) > _MAX_LENGTH:
        raise _refused("such a length")
    return [f"/(?s:.{{{least},{'' if most is None else most}}})/"]


def _whole(pattern: str) -> str:
    """The pattern for all of a text that has a match in it."""
    begins, ends = pattern.startswith("^"), pattern.endswith("$") and not pattern.endswith("\\$")
    inner = pattern[begins : len(pattern) - ends]
    if _ANCHOR.search(inner) or ("|" in inner and (begins or ends) and not _is_grouped(inner)):
        raise _refused("a pattern with anchors inside")
    before, behind = "" if begins else "(?s:.*)", "" if ends else "(?s:.*)"
    return f"{before}({inner}){behind}".replace("/", "\\/")


def _is_grouped(pattern: str) -> bool:
    """True where every alternative is in a group."""
    depth = 0
    for letter in re.sub(r"\\.|\[(?:\\.|[^\]\\])*\]", "", pattern):
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if letter == "|" and depth == 0:
            return False
    return True


def _refused(what: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"tools cannot be enforced exactly, as this model writes calls: {what}.", param="tools"
    )
