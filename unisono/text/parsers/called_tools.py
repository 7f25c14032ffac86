"""The tools of a request, as far as calls of them are held to a form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unisono.core.errors import InvalidRequestError

_ANY_OBJECT = {"type": "object"}


@dataclass(frozen=True, slots=True)
class CalledTool:
    """Args:
    schema: of its arguments.
    is_strict: the schema is enforced exactly, or the request refused.
    is_exact: the schema is enforced as far as that can be done; else arguments are any JSON.
    """

    name: str
    schema: Any
    is_strict: bool
    is_exact: bool


def called_tools(tools: Sequence[Mapping[str, Any]], *, is_forced: bool) -> list[CalledTool]:
    """The tools of a request; where a call is forced, the schema of each counts."""
    functions = [tool.get("function", tool) for tool in tools]
    return [
        CalledTool(
            function["name"],
            function.get("parameters") or _ANY_OBJECT,
            is_strict := bool(function.get("strict")),
            is_forced or is_strict,
        )
        for function in functions
    ]


def tool_schemas(tools: Sequence[Mapping[str, Any]] | None) -> dict[str, Mapping[str, Any]]:
    """The JSON schema of each tool's parameters, by the tool's name.

    Raises:
        InvalidRequestError: a tool has no name, or the name of another.
    """
    schemas: dict[str, Mapping[str, Any]] = {}
    for tool in tools or ():
        function = tool.get("function", tool)
        name = function.get("name") if isinstance(function, Mapping) else None
        if not isinstance(name, str) or not name:
            raise InvalidRequestError("A tool has no name.", param="tools")
        if name in schemas:
            raise InvalidRequestError(f"Two tools have the name {name!r:.80}.", param="tools")
        parameters = function.get("parameters")
        schemas[name] = parameters if isinstance(parameters, Mapping) else {}
    return schemas
