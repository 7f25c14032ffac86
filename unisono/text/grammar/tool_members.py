"""Parameters that a model writes one by one, each between marks of its own."""

from __future__ import annotations

from typing import Any

from unisono.core.errors import InvalidRequestError
from unisono.text.grammar.rules import Writer
from unisono.text.grammar.tool_values import Values

_KEY = "[A-Za-z_][^<>\"'=:\\s\\/(){}\\[\\],|]{0,63}"
_MOST = 64
"""Parameters of one call."""
_SAID = frozenset(
    {"type", "properties", "required", "additionalProperties", "title", "description", "$schema"}
    | {"$defs", "definitions", "default", "examples", "$comment", "$id", "strict"}
)
"""Keywords of parameters that are enforced, or assert nothing."""


def members(node: dict[str, Any], writer: Writer) -> str:
    """Symbols of a call's parameters: by its schema, where that is to be ``exact``, and else any.

    Raises:
        InvalidRequestError: the schema cannot be enforced, and is ``strict``.
    """
    if node["exact"]:
        try:
            return _exact(node, writer)
        except InvalidRequestError:
            if node["strict"]:
                raise
    return _loose(node, writer)


def _exact(node: dict[str, Any], writer: Writer) -> str:
    schema = node["members"]
    if not isinstance(schema, dict) or schema.get("type", "object") != "object":
        raise _refused("parameters that are no object")
    for keyword in sorted(schema.keys() - _SAID):
        raise _refused(f"{keyword} beside the properties of parameters")
    properties = dict(schema.get("properties") or {})
    required = schema.get("required") or []
    for name in required:
        properties.setdefault(name, schema.get("additionalProperties", True))
    values = Values(node, writer, schema)
    written = [(values.member(name, one), name in required) for name, one in properties.items()]
    return _listed(written, writer.symbols(node["between"]), writer)


def _listed(written: list[tuple[str, bool]], between: str, writer: Writer) -> str:
    """Symbols of those that are required and some of the others, in order."""
    rules = writer.rules
    first, next_ = '""', '""'
    for symbols, is_required in reversed(written):
        behind = rules.named(next_)
        taken, more = f"{symbols} {behind}", f"{between} {symbols} {behind}"
        first = taken if is_required else f"{taken} | {rules.named(first)}"
        next_ = more if is_required else f"{more} | {behind}"
    return rules.named(first)


def _loose(node: dict[str, Any], writer: Writer) -> str:
    """Parameters of any name and value."""
    schema = node["members"]
    values = Values(node, writer, schema)
    if {"key": True} in node["json"]["end"]:
        named = (isinstance(schema, dict) and schema.get("properties")) or {}
        member = " | ".join(values.member(name, True) for name in named)
    else:
        member = values.any_member(_KEY)
    if not member:
        return '""'
    rule = writer.rules.named(member)
    more = writer.rules.named(f"{writer.symbols(node['between'])} {rule}")
    return writer.rules.named(f'"" | {rule} {more}{{0,{_MOST - 1}}}')


def _refused(what: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"tools cannot be enforced exactly, as this model writes calls: {what}.",
        param="tools",
        hint="Leave out strict, or say the same in another way.",
    )
