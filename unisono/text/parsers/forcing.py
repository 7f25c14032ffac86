"""Calls that a model is held to: a constraint in the spelling of its format."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from unisono.core.constraint import Constraint
from unisono.core.errors import InvalidRequestError
from unisono.text.parsers.answer_format import AnswerFormat
from unisono.text.parsers.call_grammar import CallGrammar, Node
from unisono.text.parsers.called_tools import called_tools
from unisono.text.parsers.marks import Marks


def forced_calls(
    format: AnswerFormat,
    marks: Marks,
    tools: Sequence[Mapping[str, Any]],
    *,
    names: Collection[str],
    several: bool,
    instead: Constraint | None = None,
    has_sign: Callable[[str], bool] = lambda sign: False,
) -> Constraint:
    """A constraint under which an answer calls tools, and says nothing else.

    Args:
        names: of the tools that may be called.
        several: more than one call is allowed.
        instead: the answer may be of this language, and call nothing.
        has_sign: tells which ways to write calls are the model's own.

    Raises:
        InvalidRequestError: the format has no spelling that an answer can be held to.
    """
    asked = [tool for tool in called_tools(tools, is_forced=True) if tool.name in names]
    grammar = CallGrammar(marks, asked, several=several)
    node = format.calls_alone(grammar, has_sign)
    if node is None:
        raise InvalidRequestError(
            f"Calls in the format {format.name} cannot be forced.",
            param="tool_choice",
            hint="Send tool_choice 'auto'.",
        )
    other = [instead.kind, instead.text] if instead else None
    return _constraint(grammar, node, other)


@dataclass(frozen=True, slots=True)
class Guard:
    """A constraint on the calls of an answer that may be any text.

    Args:
        is_strict: a tool's schema has to be enforced; else the guard may be left out.
    """

    constraint: Constraint
    is_strict: bool


def guarded_calls(
    format: AnswerFormat, marks: Marks, tools: Sequence[Mapping[str, Any]], *, several: bool
) -> Guard | None:
    """A constraint under which an answer says what it likes, and what it calls are tools that there
    are, with arguments that are JSON, and of a strict tool by its schema.

    Returns:
        None where the format has no spelling that an answer can be held to.

    Raises:
        InvalidRequestError: the same, and a tool is strict.
    """
    asked = called_tools(tools, is_forced=False)
    is_strict = any(tool.is_strict for tool in asked)
    grammar = CallGrammar(marks, asked, several=several)
    node = format.calls_amid(grammar)
    if node is not None:
        with suppress(InvalidRequestError):  # it is too long
            return Guard(_constraint(grammar, node), is_strict)
    if is_strict:
        raise InvalidRequestError(
            f"Calls in the format {format.name} cannot be held to these schemas.",
            param="tools",
            hint="Leave out strict.",
        )
    return None


def _constraint(grammar: CallGrammar, node: Node, instead: list[str] | None = None) -> Constraint:
    asked = {"answer": node, "parts": grammar.parts, "instead": instead}
    return Constraint.of("tool_calls", asked)
