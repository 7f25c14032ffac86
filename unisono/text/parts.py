"""The kinds of parts that an answer has. Knows nothing of how a model writes them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby


@dataclass(slots=True)
class Content:
    """Text for whoever asked."""

    text: str


@dataclass(slots=True)
class Reasoning:
    """Text in which the model thinks, apart from its answer."""

    text: str


@dataclass(slots=True)
class ToolCall:
    """A call of a function, or what was added to one: then id and name are empty."""

    index: int
    """Place among the calls of one answer."""
    id: str = ""
    name: str = ""
    arguments: str = ""
    """JSON text."""


Part = Content | Reasoning | ToolCall


def join(parts: Iterable[Part]) -> list[Part]:
    """The parts as few as possible: what follows on another of its kind is joined to it."""
    return [_joined(list(run)) for _, run in groupby(parts, _kind)]


def _kind(part: Part) -> tuple[type[Part], int]:
    return type(part), part.index if isinstance(part, ToolCall) else 0


def _joined(run: list[Part]) -> Part:
    first = run[0]
    if isinstance(first, ToolCall):
        arguments = "".join([part.arguments for part in run if isinstance(part, ToolCall)])
        return ToolCall(first.index, first.id, first.name, arguments)
    return type(first)("".join([part.text for part in run if not isinstance(part, ToolCall)]))
