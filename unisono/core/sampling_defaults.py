"""Sampling defaults where a request does not say: the model's, or neutral ones."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from unisono.core.sampling_limits import check_limits


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
        check_limits(self)

    def said(self) -> dict[str, float]:
        """The fields that are not ``None``."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def or_else(self, other: SamplingDefaults) -> SamplingDefaults:
        """These, whole, where they say a temperature; else with what ``other`` says beside it."""
        if self.temperature is not None:
            return self
        return SamplingDefaults(**{**other.said(), **self.said()})  # type: ignore[arg-type]


NEUTRAL = SamplingDefaults(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, repetition_penalty=1.0)
"""The model's own probabilities, unchanged."""
