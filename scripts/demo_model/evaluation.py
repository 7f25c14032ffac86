"""Lets a checkpoint answer test cases greedily and counts what is right."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from .catalog import ENTITY_TYPES
from .testsets import Case

_ROWS_PER_BATCH = 32
_MAX_NEW_TOKENS = 224


@dataclass(frozen=True)
class Outcome:
    """A case and what the model said; `given` is empty where that was no JSON object."""

    case: Case
    text: str
    given: dict[str, Any]

    @property
    def expected(self) -> dict[str, Any]:
        return self.case.expected

    def agrees(self, field: str) -> bool:
        return bool(self.given) and self.given.get(field) == self.expected[field]


def _parse(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


class Answerer:
    """A checkpoint read back from its folder, as any user would."""

    def __init__(self, folder: Path) -> None:
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, padding_side="left")
        self._model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)

    @torch.inference_mode()
    def answer(self, cases: list[Case]) -> list[str]:
        inputs = self._tokenizer.apply_chat_template(
            [case.messages for case in cases],
            add_generation_prompt=True,
            padding=True,
            return_tensors="pt",
            return_dict=True,
        )
        output = self._model.generate(**inputs, do_sample=False, max_new_tokens=_MAX_NEW_TOKENS)
        new = output[:, inputs["input_ids"].shape[1] :]
        return self._tokenizer.batch_decode(new, skip_special_tokens=True)


def run(answerer: Answerer, cases: list[Case], report: Callable[[str], None]) -> list[Outcome]:
    """Answers every case; cases of like length share a batch."""
    ordered = sorted(cases, key=lambda case: sum(len(m["content"]) for m in case.messages))
    outcomes: list[Outcome] = []
    for start in range(0, len(ordered), _ROWS_PER_BATCH):
        group = ordered[start : start + _ROWS_PER_BATCH]
        texts = answerer.answer(group)
        outcomes += [Outcome(c, t, _parse(t)) for c, t in zip(group, texts, strict=True)]
        report(f"answered {len(outcomes)}/{len(ordered)}")
    return outcomes


def _share(values: Iterable[bool]) -> float:
    counted = list(values)
    return round(sum(counted) / len(counted), 4) if counted else 0.0


def _without_summary(answer: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in answer.items() if key != "summary"}


def field_scores(outcomes: list[Outcome]) -> dict[str, float]:
    scores = {
        "valid_json": _share(bool(o.given) for o in outcomes),
        "exact_match": _share(o.given == o.expected for o in outcomes),
        "exact_match_without_summary": _share(
            _without_summary(o.given) == _without_summary(o.expected) for o in outcomes
        ),
    }
    for field in ("industry", "category", "urgency", "entities", "summary"):
        scores[field] = _share(o.agrees(field) for o in outcomes)
    return scores


def _given_entities(outcome: Outcome) -> dict[str, Any]:
    entities = outcome.given.get("entities")
    return entities if isinstance(entities, dict) else {}


def entity_scores(outcomes: list[Outcome]) -> dict[str, dict[str, float]]:
    """Per entity type: how many were expected, precision and recall of exact values."""
    expected: Counter[str] = Counter()
    given: Counter[str] = Counter()
    right: Counter[str] = Counter()
    for outcome in outcomes:
        answered = _given_entities(outcome)
        expected.update(outcome.expected["entities"].keys())
        given.update(answered.keys())
        right.update(k for k, v in outcome.expected["entities"].items() if answered.get(k) == v)
    return {
        entity: {
            "expected": expected[entity],
            "precision": round(right[entity] / given[entity], 4) if given[entity] else 0.0,
            "recall": round(right[entity] / expected[entity], 4) if expected[entity] else 0.0,
        }
        for entity in ENTITY_TYPES
        if expected[entity] or given[entity]
    }


def confusion(outcomes: list[Outcome], field: str) -> list[dict[str, Any]]:
    """Pairs of expected and given values that differ, the most frequent first."""
    pairs = Counter(
        (str(o.expected[field]), str(o.given.get(field, "(no JSON)")))
        for o in outcomes
        if not o.agrees(field)
    )
    return [{"expected": e, "given": g, "count": n} for (e, g), n in pairs.most_common()]


def score(outcomes: list[Outcome]) -> dict[str, Any]:
    by_language = {
        language: field_scores([o for o in outcomes if o.case.language == language])
        for language in sorted({o.case.language for o in outcomes})
    }
    return {
        "messages": len(outcomes),
        "all": field_scores(outcomes),
        "by_language": by_language,
        "entities": entity_scores(outcomes),
        "category_confusion": confusion(outcomes, "category"),
        "urgency_confusion": confusion(outcomes, "urgency"),
        "mistakes": [
            {"message": o.case.message, "expected": o.expected, "given": o.given or o.text}
            for o in outcomes
            if o.given != o.expected
        ][:60],
    }
