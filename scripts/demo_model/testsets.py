"""The messages that the demo model is judged on, none of which training can produce."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from .catalog import CATEGORIES, LANGUAGES, summary_of
from .compose import Example, Source, compose
from .conversation import Message, turn

HANDWRITTEN = Path(__file__).parent / "handwritten.jsonl"

_NEW = Source(held_out_templates=True, held_out_values=True)
_NEW_VALUES = Source(held_out_values=True)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One chat whose last message is to be answered, and the right answer."""

    messages: list[Message]
    language: str
    expected: dict[str, Any]

    @property
    def message(self) -> str:
        return self.messages[-1]["content"]


def _case(example: Example, earlier: Example | None = None) -> Case:
    before = turn(earlier) if earlier else []
    return Case(
        messages=[*before, {"role": "user", "content": example.message}],
        language=example.language,
        expected=json.loads(example.answer),
    )


def _examples(seed: int, per_category: int, source: Source) -> list[Example]:
    rng = Random(seed)
    return [
        compose(rng, language, category, source)
        for category in CATEGORIES.values()
        for language in LANGUAGES
        for _ in range(per_category)
    ]


def _two_turns(seed: int) -> list[Case]:
    examples = _examples(seed, 2, _NEW)
    earlier = examples.copy()
    Random(seed).shuffle(earlier)
    return [_case(last, first) for last, first in zip(examples, earlier, strict=True)]


def _handwritten_case(record: dict[str, Any]) -> Case:
    category, entities = CATEGORIES[record["category"]], record["entities"]
    expected = {
        "industry": record["industry"],
        "category": record["category"],
        "urgency": record["urgency"],
        "entities": entities,
        "summary": summary_of(category, entities, record["language"]),
    }
    return Case(
        messages=[{"role": "user", "content": record["message"]}],
        language=record["language"],
        expected=expected,
    )


def load_handwritten() -> list[Case]:
    lines = HANDWRITTEN.read_text(encoding="utf-8").splitlines()
    return [_handwritten_case(json.loads(line)) for line in lines]


def all_test_sets(seed: int) -> dict[str, list[Case]]:
    """By name: held_out (the main one), new_values, two_turns, handwritten."""
    return {
        "held_out": [_case(example) for example in _examples(seed, 10, _NEW)],
        "new_values": [_case(example) for example in _examples(seed + 1, 4, _NEW_VALUES)],
        "two_turns": _two_turns(seed + 2),
        "handwritten": load_handwritten(),
    }
