"""The numbers of mixtures of experts, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from unisono.core.errors import CheckpointError
from unisono.hardware.ops.experts import Routing
from unisono.models.dividing import Divides

MAX_EXPERTS = 2**13
_MAX_EXPERTS_OF_ALL_LAYERS = 2**16


@dataclass(frozen=True, kw_only=True, slots=True)
class ExpertShape:
    """The experts of a decoder.

    Raises:
        CheckpointError: (constructor) too many, or as many cannot be chosen, or groups formed.
    """

    num_experts: int
    size: Annotated[int, Divides("columns of an expert")]
    """Width of an expert."""
    routing: Routing
    layers: frozenset[int]
    """Indices of the layers with experts; the others have an MLP."""
    shared_size: Annotated[int, Divides("columns of the shared expert")] = 0
    """Width of an expert that every token takes; 0: there is none."""
    shared_gate: bool = False
    """The shared expert has a gate of its own."""
    bias: bool = False
    router_bias: bool = False
    corrected: bool = False
    """The choice adds ``e_score_correction_bias`` to the scores."""
    router_float32: bool = False
    """Logits of the router are computed in float32."""
    weighs_input: bool = False
    """Weights multiply what enters the experts, not what they give (Llama 4)."""

    def __post_init__(self) -> None:
        routing, num_experts = self.routing, self.num_experts
        if num_experts * len(self.layers) > _MAX_EXPERTS_OF_ALL_LAYERS:
            raise CheckpointError(
                f"config.json: {len(self.layers)} layers of {num_experts} experts are more than"
                f" {_MAX_EXPERTS_OF_ALL_LAYERS} experts."
            )
        if num_experts % routing.num_groups or routing.num_chosen_groups > routing.num_groups:
            raise CheckpointError(
                f"config.json: {num_experts} experts do not form {routing.num_groups} groups of"
                f" which {routing.num_chosen_groups} can be chosen."
            )
        possible = num_experts // routing.num_groups * routing.num_chosen_groups
        if routing.num_chosen > possible:
            raise CheckpointError(
                f"config.json: a token cannot take {routing.num_chosen} of {possible} experts."
            )

    def share_taken(self, num_tokens: int) -> float:
        """Expected share of the experts that ``num_tokens`` tokens choose at random."""
        return float(1.0 - (1.0 - self.routing.num_chosen / self.num_experts) ** num_tokens)
