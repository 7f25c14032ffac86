"""How the next token is chosen where a request does not say: the model's word, or nobody's."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from unisono.core.errors import InvalidRequestError

__all__ = ["NEUTRAL", "SamplingDefaults", "check_choice", "check_int", "check_number"]

_CHOICE_RANGES = {
    "temperature": (100.0, False),
    "top_p": (1.0, True),
    "min_p": (1.0, False),
    "repetition_penalty": (100.0, True),
}
"""The most that each may be, and whether 0 is too little."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingDefaults:
    """Sampling fields that a model recommends; ``None`` is a field without a recommendation.

    The fields mean what they mean in :class:`SamplingParams`.

    Raises:
        InvalidRequestError: a value out of range, named by ``param``.
    """

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None

    def __post_init__(self) -> None:
        check_choice(self)

    def said(self) -> dict[str, float]:
        """The fields that are not ``None``."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def or_else(self, other: SamplingDefaults) -> SamplingDefaults:
        """These, whole, where they say a temperature; else with what ``other`` says beside it."""
        if self.temperature is not None:
            return self
        return SamplingDefaults(**{**other.said(), **self.said()})  # type: ignore[arg-type]


def check_choice(record: Any) -> None:
    """The fields of ``SamplingDefaults``, in it or in parameters that have them too."""
    for name, (most, low_open) in _CHOICE_RANGES.items():
        if getattr(record, name) is not None:
            check_number(name, getattr(record, name), 0.0, most, low_open=low_open)
    if record.top_k is not None:
        check_int("top_k", record.top_k, 0, 1 << 31)


def check_int(name: str, value: Any, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidRequestError(f"{name} must be an integer, not {value!r:.40}.", param=name)
    if not low <= value <= high:
        raise InvalidRequestError(f"{name} must be {low} to {high}, not {value!r:.40}.", param=name)


def check_number(name: str, value: Any, low: float, high: float, *, low_open: bool = False) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidRequestError(f"{name} must be a number, not {value!r:.40}.", param=name)
    if not low <= value <= high or (low_open and value == low):
        above = "above " if low_open else ""
        raise InvalidRequestError(
            f"{name} must be {above}{low:g} to {high:g}, not {value!r:.40}.", param=name
        )


NEUTRAL = SamplingDefaults(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, repetition_penalty=1.0)
"""The model's own probabilities, unchanged."""
