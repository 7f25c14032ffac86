"""Mistral 4 (Mistral AI, 2026): experts, and latent attention whose queries grow with their
position."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from unisono.core.errors import CheckpointError
from unisono.hardware.ops.experts import Routing
from unisono.hardware.ops.portable import PortableOps
from unisono.models.checkpoint.names import TEXT_OF_MULTIMODAL, CheckpointNames
from unisono.models.config import ModelConfig
from unisono.models.expert_config import later_layers
from unisono.models.families.deepseek import Deepseek, read_deepseek
from unisono.models.families.mistral import query_growth
from unisono.models.layers.latent_attention import LatentAttention
from unisono.models.raw_config import RawConfig

__all__ = ["Mistral4"]

_DEFAULTS: dict[str, Any] = {
    "max_position_embeddings": 1_048_576,
    "n_shared_experts": 1,
    "num_experts_per_tok": 4,
}
_YARN = {
    "rope_type": "yarn",
    "rope_theta": 10_000.0,
    "factor": 128.0,
    "original_max_position_embeddings": 8192,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "mscale": 1.0,
    "mscale_all_dim": 1.0,
    "llama_4_scaling_beta": 0.1,
}


class Mistral4(Deepseek):
    """Alone, or behind a vision tower."""

    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.text().with_defaults(**_DEFAULTS)
        if not raw.mapping("rope_parameters"):
            longest = raw.integer("max_position_embeddings")
            raw = raw.with_values(rope_parameters={**_YARN, "max_position_embeddings": longest})
        routing = Routing(
            num_chosen=raw.integer("num_experts_per_tok"),
            normalized=raw.flag("norm_topk_prob", True),
            scale=raw.number("routed_scaling_factor", 1.0),
            num_groups=raw.integer("n_group", 1),
            num_chosen_groups=raw.integer("topk_group", 1),
        )
        config = read_deepseek(_with_own_rope(raw), routing, layers=later_layers(raw))
        rope = RawConfig(config.rope.scaling, f"{raw.source}: rope")
        rope.number("llama_4_scaling_beta")
        rope.integer("original_max_position_embeddings")
        return config

    def make_attention(self, ops: PortableOps, config: ModelConfig, layer: int) -> nn.Module:
        return GrowingLatentAttention(ops, config, layer)

    def checkpoint_names(self) -> CheckpointNames:
        return super().checkpoint_names().behind(TEXT_OF_MULTIMODAL)


class GrowingLatentAttention(LatentAttention):
    """Scores sharpen as the context grows beyond what the model was first trained on."""

    def __init__(self, ops: PortableOps, config: ModelConfig, layer: int) -> None:
        super().__init__(ops, config, layer)
        scaling = config.rope.scaling
        self.beta = scaling["llama_4_scaling_beta"]
        self.original_positions = scaling["original_max_position_embeddings"]

    def placed(self, query: Tensor, positions: Tensor) -> Tensor:
        return query * query_growth(positions, self.beta, self.original_positions).to(query.dtype)


def _with_own_rope(raw: RawConfig) -> RawConfig:
    """The file states the rotated part as a share of the whole head.

    Raises:
        CheckpointError: it is not what qk_rope_head_dim says.
    """
    rope = dict(raw.mapping("rope_parameters"))
    share = RawConfig(rope, f"{raw.source}: rope").get("partial_rotary_factor")
    rope.pop("partial_rotary_factor", None)
    rotated_dim = raw.integer("qk_rope_head_dim")
    head_dim = raw.integer("qk_nope_head_dim") + rotated_dim
    if share is not None and int(head_dim * share) != rotated_dim:
        raise CheckpointError(
            f"{raw.source}: rope rotates {share} of {head_dim} dimensions, qk_rope_head_dim says"
            f" {rotated_dim}."
        )
    return raw.with_values(rope_parameters=rope)
