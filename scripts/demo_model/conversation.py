"""Wraps examples into chats: an optional system message, sometimes an earlier turn."""

from __future__ import annotations

from random import Random
from typing import TypedDict

from . import grammar
from .compose import TRAINING, Example, Source, sample

_EARLIER_TURN_RATE = 0.1
_SYSTEM_RATE = 0.15


class Message(TypedDict):
    role: str
    content: str


def turn(example: Example) -> list[Message]:
    return [
        {"role": "user", "content": example.message},
        {"role": "assistant", "content": example.answer},
    ]


def _system(rng: Random, language: str, source: Source) -> list[Message]:
    template = grammar.choose(
        grammar.load(language), "system", rng, held_out=source.held_out_templates
    )
    return [{"role": "system", "content": template.text}]


def converse(rng: Random, source: Source = TRAINING) -> list[Message]:
    """A chat whose last message is the answer to learn."""
    messages: list[Message] = []
    examples = [sample(rng, source)]
    if rng.random() < _EARLIER_TURN_RATE:
        examples.append(sample(rng, source))
    if rng.random() < _SYSTEM_RATE:
        messages += _system(rng, examples[-1].language, source)
    for example in examples:
        messages += turn(example)
    return messages
