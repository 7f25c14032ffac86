"""Calls that a model is held to: a constraint in the spelling of its format."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from unisono.core.constraint import Constraint
from unisono.core.errors import InvalidRequestError
from unisono.text.parsers.answer_format import AnswerFormat
from unisono.text.parsers.marks import Marks


def forced_calls(
    format: AnswerFormat,
    marks: Marks,
    tools: Sequence[Mapping[str, Any]],
    *,
    names: Collection[str],
    several: bool,
    instead: Constraint | None = None,
) -> Constraint:
    """A constraint under which an answer calls tools, and says nothing else.

    Args:
        names: of the tools that may be called.
        several: more than one call is allowed.
        instead: the answer may be of this language, and call nothing.

    Raises:
        InvalidRequestError: the format has no spelling that an answer can be held to.
    """
    if (spelling := format.spelling) is None:
        raise InvalidRequestError(
            f"Calls in the format {format.name} cannot be forced.",
            param="tool_choice",
            hint="Send tool_choice 'auto'.",
        )

    def tag(function: Mapping[str, Any]) -> dict[str, Any]:
        begin = marks.pieces(f"{spelling.before_name}{function['name']}{spelling.before_arguments}")
        number = [":", {"regex": "[0-9]"}, *marks.pieces(spelling.numbered)]
        return {
            "begin": [*begin, *number] if spelling.numbered else begin,
            "schema": function.get("parameters") or {"type": "object"},
            "strict": bool(function.get("strict")),
            "end": marks.pieces(spelling.end),
        }

    functions = [tool.get("function", tool) for tool in tools]
    asked = {
        "tags": [tag(function) for function in functions if function["name"] in names],
        **{name: marks.pieces(getattr(spelling, name)) for name in ("opens", "between", "closes")},
        "several": several,
        "instead": instead and [instead.kind, instead.text],
    }
    return Constraint.of("tool_calls", asked)
