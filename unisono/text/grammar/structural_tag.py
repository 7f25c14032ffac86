"""Structural tags: text is free but for what is between certain beginnings and ends, where a JSON
Schema holds. The form is that of SGLang and vLLM: ``structures`` and ``triggers``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from unisono.core.errors import InvalidRequestError

_MAX_STRUCTURES = 256
Node = Any


def structural_tag(text: str, special: Mapping[str, int]) -> Node:
    """A node of :mod:`tool_calls`.

    Args:
        special: tokens that are no text, by name: where a name stands in a begin, an end or a
            trigger, the token is meant.

    Raises:
        InvalidRequestError: it is of another form.
    """
    structures, triggers = _read(text)
    cut = _Cut(special)
    led: list[Node] = []
    for structure in structures:
        begin, end = structure["begin"], structure.get("end", "")
        trigger = next((one for one in triggers if begin.startswith(one)), None)
        if trigger is None:
            raise _wrong("a begin that starts with none of the triggers")
        first = cut.pieces(trigger)
        lead = first if isinstance(first[0], str) else ["", *first]
        schema = {"schema": structure.get("schema", True), "strict": True}
        led.append([*lead, *cut.pieces(begin[len(trigger) :]), schema, *cut.pieces(end)])
    never = [trigger for trigger in triggers if cut.is_text(trigger)]
    return {"amid": led, "never": never, "bare": [], "joins": "", "names": []}


class _Cut:
    """Cuts texts at the names of tokens, of which the longest counts."""

    def __init__(self, special: Mapping[str, int]) -> None:
        self._special = special
        names = sorted(special, key=len, reverse=True)
        self._names = re.compile(f"({'|'.join(map(re.escape, names)) or '(?!)'})")

    def pieces(self, text: str) -> list[str | int]:
        return [self._special.get(piece, piece) for piece in self._names.split(text) if piece]

    def is_text(self, text: str) -> bool:
        return self._names.search(text) is None


def _read(text: str) -> tuple[list[Any], list[str]]:
    try:
        given = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _wrong("no JSON text") from error
    structures, triggers = (
        (given.get("structures"), given.get("triggers"))
        if isinstance(given, Mapping)
        else (None, None)
    )
    if not isinstance(structures, list) or not 1 <= len(structures) <= _MAX_STRUCTURES:
        raise _wrong(f"no list of 1 to {_MAX_STRUCTURES} structures")
    if not isinstance(triggers, list) or not all(isinstance(t, str) and t for t in triggers):
        raise _wrong("no list of triggers")
    for one in structures:
        if not isinstance(one, Mapping) or not isinstance(one.get("begin"), str):
            raise _wrong("a structure without begin")
        if not isinstance(one.get("end", ""), str):
            raise _wrong("an end that is no text")
    return structures, triggers


def _wrong(what: str) -> InvalidRequestError:
    return InvalidRequestError(f"structural_tag has {what}.", param="structural_tag")
