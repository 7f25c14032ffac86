"""Calls of tools and nothing else, in the notation of llguidance.

The constraint's text is JSON. ``tags``: one a tool, each with what is before its arguments
(``begin``), their ``schema``, whether that is ``strict``, and what is behind them (``end``).
``opens``, ``between``, ``closes``: what is before, between and behind all calls. These are lists of
texts, of token ids, and of regular expressions (``{"regex": ...}``). Without ``several`` there is
one call. ``instead``: a constraint that the answer may have in place of calls, or null.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from unisono.core.errors import InvalidRequestError

_MAX_CALLS = 32
"""Calls of one answer, which end so."""
Piece = str | int | dict[str, str]
WriteSchema = Callable[[str, str], str]
"""From a schema as JSON text, and the parameter that errors name, to a symbol of a rule."""


def tool_calls(text: str, write_schema: WriteSchema) -> str:
    """Raises:
    InvalidRequestError: the parameters of a strict tool cannot be enforced exactly.
    """
    asked: dict[str, Any] = json.loads(text)
    calls = [_call(tag, write_schema) for tag in asked["tags"]]
    names = " | ".join(f"call_{index}" for index in range(len(calls)))
    more = f"({_pieces(asked['between'])} call){{0,{_MAX_CALLS - 1}}}" if asked["several"] else ""
    start = f"{_pieces(asked['opens'])} call {more} {_pieces(asked['closes'])}"
    if asked["instead"]:
        kind, other = asked["instead"]
        if kind != "schema":
            raise InvalidRequestError(f"{kind} does not go with tools.", param=kind)
        start = f"{start} | {write_schema(other, kind)}"
    rules = [f"start: {start}"]
    rules += [f"call: {names}", *(f"call_{index}: {body}" for index, body in enumerate(calls))]
    return "\n".join(rules)


def _call(tag: dict[str, Any], write_schema: WriteSchema) -> str:
    try:
        schema = write_schema(json.dumps(tag["schema"]), "tools")
    except InvalidRequestError:
        if tag["strict"]:
            raise
        schema = write_schema('{"type": "object"}', "tools")
    return f"{_pieces(tag['begin'])} {schema} {_pieces(tag['end'])}"


def _pieces(pieces: list[Piece]) -> str:
    return " ".join(map(_piece, pieces))


def _piece(piece: Piece) -> str:
    if isinstance(piece, int):
        return f"<[{piece}]>"
    return f"/{piece['regex']}/" if isinstance(piece, dict) else json.dumps(piece)
