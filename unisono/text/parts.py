"""The kinds of parts that an answer has. Knows nothing of how a model writes them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


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
    joined: list[Part] = []
    for part in parts:
        last = joined[-1] if joined else None
        if isinstance(part, ToolCall):
            if isinstance(last, ToolCall) and last.index == part.index:
                last.arguments += part.arguments
            else:
                joined.append(ToolCall(part.index, part.id, part.name, part.arguments))
        elif type(last) is type(part):
            last.text += part.text
        else:
            joined.append(type(part)(part.text))
    return joined
