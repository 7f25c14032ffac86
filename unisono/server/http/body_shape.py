"""What a JSON body is made of, counted before anything is made of it.

Knows bytes. Every count is one pass of a byte operation over the body, so that a body of any shape
costs little before it is refused; one that passes is made of few enough values to be parsed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from unisono.server.api_error import ApiError, bad_request

__all__ = ["ShapeLimits", "check_shape"]

_STRING = re.compile(rb'"[^"]*"')
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_BRACES_TO_BRACKETS = bytes.maketrans(b"{}", b"[]")
_MAX_STRINGS = 1 << 16
_MAX_OBJECTS = 1 << 16
_MAX_VALUES = 1 << 18


@dataclass(frozen=True)
class ShapeLimits:
    """Args:
    depth: nesting of arrays and objects.
    context: most tokens of a prompt.
    """

    depth: int
    context: int


def check_shape(body: bytes, limits: ShapeLimits) -> None:
    """Raises:
    ApiError: nested too deep, too many values, or a list longer than any prompt may be.
    """
    plain = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    _check_count("strings", plain.count(b'"') // 2, _MAX_STRINGS)
    outside = _STRING.sub(b'"', plain)
    del plain
    _check_count("lists and objects", outside.count(b"[") + outside.count(b"{"), _MAX_OBJECTS)
    _check_depth(outside, limits.depth)
    num_commas = outside.count(b",")
    if num_commas >= limits.context:
        _check_lists(outside, limits.context)
    _check_count("values", num_commas, max(_MAX_VALUES, 2 * limits.context))


def _check_count(what: str, count: int, most: int) -> None:
    if count > most:
        raise bad_request(
            f"The body has {count} {what}; at most {most} are read. Send less in one request."
        )


def _check_depth(outside: bytes, max_depth: int) -> None:
    """Keeps the brackets alone, then takes away one level of them after another."""
    brackets = outside.translate(_BRACES_TO_BRACKETS, _NOT_BRACKETS)
    for _ in range(max_depth):
        shorter = brackets.replace(b"[]", b"")
        if len(shorter) == len(brackets):
            return  # none left, or unbalanced: the parser says where
        brackets = shorter
    if brackets:
        raise too_deep(max_depth)


def too_deep(max_depth: int) -> ApiError:
    return bad_request(f"The body is nested deeper than {max_depth} levels.", code="invalid_json")


def _check_lists(outside: bytes, context: int) -> None:
    """A list of numbers has no bracket in it, and a comma between two."""
    for found in re.finditer(rb"\[[^\[\]{}]{%d,}" % (2 * context), outside):
        num_items = 1 + outside.count(b",", *found.span())
        if num_items > context:
            raise bad_request(
                f"This model's maximum context length is {context} tokens; a list in the body has "
                f"{num_items} items.",
                code="context_length_exceeded",
            )
