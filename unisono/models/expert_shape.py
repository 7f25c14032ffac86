"""The numbers of mixtures of experts, as plain data, and how checkpoints say them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from unisono.core.errors import CheckpointError
from unisono.hardware.ops.experts import Routing

if TYPE_CHECKING:
    from unisono.models.config import RawConfig

__all__ = ["ExpertShape", "later_layers", "read_num_experts", "sigmoid_routing", "stepped_layers"]

_MAX_EXPERTS = 2**13
_MAX_EXPERTS_OF_ALL_LAYERS = 2**16


@dataclass(frozen=True, kw_only=True, slots=True)
class ExpertShape:
    """The experts of a decoder.

    Raises:
        CheckpointError: (constructor) too many, or as many cannot be chosen, or groups formed.
    """

    num_experts: int
    size: int
    """Width of an expert."""
    routing: Routing
    layers: frozenset[int]
    """Those with experts; the others have an MLP."""
    shared_size: int = 0
    """Width of an expert that every token takes; 0: there is none."""
    shared_gate: bool = False
    """Whether that has a gate of its own."""
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
        """Of the experts, by at least one of the tokens, where all are equally likely."""
        return float(1.0 - (1.0 - self.routing.num_chosen / self.num_experts) ** num_tokens)

    def divided(self, size: int) -> ExpertShape:
        """Of a rank's part: all experts, a share of the width of each."""
        return replace(self, size=self.size // size, shared_size=self.shared_size // size)


def read_num_experts(raw: RawConfig, *names: str, default: int | None = None) -> int:
    """The first of the fields ``names`` that is there."""
    name = next((name for name in names if raw.get(name) is not None), names[0])
    return raw.integer(name, default, most=_MAX_EXPERTS)


def stepped_layers(raw: RawConfig) -> frozenset[int]:
    """Each ``decoder_sparse_step``-th layer, but for ``mlp_only_layers`` (Qwen)."""
    num_layers, step = raw.num_layers, raw.integer("decoder_sparse_step", 1)
    dense = raw.list_of("mlp_only_layers", int)
    return frozenset(i for i in range(num_layers) if (i + 1) % step == 0 and i not in dense)


def later_layers(raw: RawConfig) -> frozenset[int]:
    """All from ``first_k_dense_replace`` on (DeepSeek)."""
    first = raw.integer("first_k_dense_replace", 0, least=0)
    return frozenset(range(first, raw.num_layers))


def sigmoid_routing(raw: RawConfig) -> Routing:
    """Sigmoid scores, groups, and a scale, under the names of DeepSeek-V3."""
    return Routing(
        num_chosen=raw.integer("num_experts_per_tok"),
        score="sigmoid",
        normalized=raw.flag("norm_topk_prob", True),
        scale=raw.number("routed_scaling_factor", 1.0),
        num_groups=raw.integer("n_group", 1),
        num_chosen_groups=raw.integer("topk_group", 1),
    )
