"""Structural tags: text is free but for what is between certain beginnings and ends, where a JSON
Schema holds. The form is that of SGLang and vLLM: ``structures`` and ``triggers``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from unisono.core.errors import InvalidRequestError

_MAX_STRUCTURES = 256


def structural_tag(text: str, schema_symbol: Callable[[str, str], str]) -> str:
    """Rules of a grammar.

    Args:
        schema_symbol: a schema, and the parameter it comes from, as a symbol of a rule.

    Raises:
        InvalidRequestError: it is of another form, or a schema cannot be enforced.
    """
    structures, triggers = _read(text)
    rules = ["TEXT: /(?s:.*)/", "text: TEXT"]
    names = []
    for number, structure in enumerate(structures):
        begin, end = structure["begin"], structure.get("end", "")
        trigger = next((one for one in triggers if begin.startswith(one)), None)
        if trigger is None:
            raise _wrong("a begin that starts with none of the triggers")
        rest = [_quoted(begin[len(trigger) :]), schema_symbol(_schema(structure), "structural_tag")]
        rules.append(f"head_{number}[lazy]: TEXT {json.dumps(trigger)}")
        rules.append(f"tag_{number}: head_{number} {' '.join(rest)} {_quoted(end)}")
        names.append(f"tag_{number}")
    return "\n".join([f"start: ({' | '.join(names)})* text", *rules])


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


def _schema(structure: Mapping[str, Any]) -> str:
    return json.dumps(structure.get("schema", True))


def _quoted(text: str) -> str:
    return json.dumps(text) if text else ""


def _wrong(what: str) -> InvalidRequestError:
    return InvalidRequestError(f"structural_tag has {what}.", param="structural_tag")
