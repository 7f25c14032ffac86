"""Findings of a check: plain data, for the channel, the card and the screen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Outcome = Literal[
    "passed", "failed", "refused", "error", "hang", "crashed", "not applicable", "not run"
]
BAD: frozenset[Outcome] = frozenset(("failed", "error", "hang", "crashed"))
"""Outcomes for which a device does not pass."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """One case that went wrong. ``error`` and ``bound`` are those of the worst entry."""

    case: str
    detail: str
    error: float | None = None
    bound: float | None = None
    culprit: str = ""
    """The first ATen op whose result diverges, where one was found."""
    script: str = ""
    """A program of a few lines that shows it; it ends with exit code 1 where it does."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """A measurement; ``predicted`` ones come from an imitated chip's published figures."""

    name: str
    value: float
    unit: str
    predicted: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """Result of one check. ``margin`` is the largest error as a share of its bound, if any."""

    check: str
    outcome: Outcome
    detail: str = ""
    seconds: float = 0.0
    cases: int = 0
    margin: float | None = None
    failures: tuple[Failure, ...] = ()
    figures: tuple[Figure, ...] = field(default=())

    @property
    def bad(self) -> bool:
        return self.outcome in BAD

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Result:
        nested = {
            "failures": tuple(Failure(**entry) for entry in data["failures"]),
            "figures": tuple(Figure(**entry) for entry in data["figures"]),
        }
        return cls(**{**data, **nested})
