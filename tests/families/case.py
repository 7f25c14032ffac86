"""A test case of a family."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A tiny random checkpoint of ``model_type``, as transformers names it; ``options`` go to its
    configuration. A ``whole`` case is proved in every respect, another in the arithmetic alone."""

    model_type: str
    options: dict[str, Any] = field(default_factory=dict)
    whole: bool


def family(model_type: str, **options: Any) -> Case:
    """The family as its checkpoints are."""
    return Case(model_type=model_type, options=options, whole=True)


def variant(model_type: str, **options: Any) -> Case:
    """An option that changes the arithmetic."""
    return Case(model_type=model_type, options=options, whole=False)
