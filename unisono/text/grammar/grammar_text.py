"""Constraints in the notation of llguidance."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from llguidance import regex_to_lark
from llguidance.gbnf_to_lark import any_to_lark

from unisono.core.constraint import Constraint
from unisono.core.errors import InvalidRequestError
from unisono.text.grammar.ecma_pattern import PatternError, rust_pattern
from unisono.text.grammar.json_schema import exact_schema
from unisono.text.grammar.structural_tag import structural_tag
from unisono.text.grammar.tool_calls import NodeWriter, tool_calls

_ESCAPES = 'nrbtf\\"'
"""Escapes in JSON strings. Without ``\\u`` a text is written in one way, so that a key that is
spelt differently is no other key."""
_JSON = {
    "item_separator": ", ?",
    "key_separator": ": ?",
    "whitespace_flexible": False,
    "json_allowed_escapes": _ESCAPES,
    "lenient": False,
    "coerce_one_of": False,
}


_OPTIONS = '%llguidance {"no_forcing": true}'
"""The model chooses among the tokens that spell a text, also where the text is fixed: which of them
its tokenizer would take is not known here."""


def grammar_text(
    constraint: Constraint,
    eos_token_ids: Collection[int] = (),
    special: Mapping[str, int] | None = None,
) -> str:
    """Args:
        eos_token_ids: tokens that end an answer.
        special: tokens that are no text, by name.

    Raises:
        InvalidRequestError: what is given is no such constraint, or cannot be enforced.
    """
    match constraint.kind:
        case "schema":
            rules = f"start: {_schema(constraint.text, 'schema')}"
        case "regex":
            rules = f"start: /{regex_to_lark(_regex(constraint.text), '')}/"
        case "choice":
            rules = "start: " + " | ".join(map(json.dumps, _load(constraint.text, "choice")))
        case "grammar":
            rules = _lark(constraint.text)
        case "structural_tag":
            answer = structural_tag(constraint.text, special or {})
            writer = NodeWriter(_schema, eos_token_ids, param="structural_tag")
            rules = writer.whole(writer.symbols(answer))
        case "anything":
            rules = "start: /(?s:.*)/"
        case "tool_calls":
            rules = tool_calls(constraint.text, _schema, eos_token_ids)
    return f"{_OPTIONS}\n{rules}"


def _schema(text: str, param: str) -> str:
    """A schema as a symbol of a rule."""
    schema = {**exact_schema(_load(text, param), param), "x-guidance": _JSON}
    return "%json " + json.dumps(schema)


def _regex(text: str) -> str:
    try:
        return rust_pattern(text)
    except PatternError as error:
        raise InvalidRequestError(f"regex cannot be used: {error}.", param="regex") from error


def _load(text: str, param: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError(f"{param} is no JSON text.", param=param) from error


def _lark(text: str) -> str:
    """A grammar in Lark's notation, or GBNF's, which has rules with ``::=``."""
    try:
        return any_to_lark(text)
    except Exception as error:  # a parser of its own, with errors of its own
        raise InvalidRequestError("grammar is neither Lark nor GBNF.", param="grammar") from error
