"""Mistral 4 (Mistral AI, 2026): experts, and latent attention whose queries grow with their
position."""

from __future__ import annotations

from torch import Tensor

from unisono.core.errors import CheckpointError
from unisono.hardware.ops.experts import Routing
from unisono.hardware.ops.portable import PortableOps
from unisono.models.checkpoint.names import TEXT_OF_MULTIMODAL
from unisono.models.config import ModelConfig
from unisono.models.expert_config import later_layers, read_experts
from unisono.models.families.deepseek import EXPERT_FIELDS, Deepseek, read_deepseek
from unisono.models.families.mistral import growing, growth_by, with_yarn
from unisono.models.layers.latent_attention import LatentAttention
from unisono.models.raw_config import RawConfig

__all__ = ["Mistral4"]


class GrowingLatentAttention(LatentAttention):
    """Scores sharpen as the context grows beyond what the model was first trained on."""

    def __init__(self, ops: PortableOps, config: ModelConfig, layer: int) -> None:
        super().__init__(ops, config, layer)
        self.rope = config.rope

    def placed(self, query: Tensor, positions: Tensor) -> Tensor:
        return query * growth_by(self.rope, positions).to(query.dtype)


class Mistral4(Deepseek):
    """Alone, or behind a vision tower."""

    renamed = (*TEXT_OF_MULTIMODAL.renamed, *Deepseek.renamed)
    ignored = TEXT_OF_MULTIMODAL.ignored
    attention_class = GrowingLatentAttention

    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.text().with_defaults(
            max_position_embeddings=1_048_576, n_shared_experts=1, num_experts_per_tok=4
        )
        raw = with_yarn(
            raw, rope_theta=10_000.0, factor=128.0, original_max_position_embeddings=8192
        )
        routing = Routing(
            num_chosen=raw.integer("num_experts_per_tok"),
            normalized=raw.flag("norm_topk_prob", True),
            scale=raw.number("routed_scaling_factor", 1.0),
            num_groups=raw.integer("n_group", 1),
            num_chosen_groups=raw.integer("topk_group", 1),
        )
        experts = read_experts(raw, routing, layers=later_layers(raw), **EXPERT_FIELDS)
        return growing(read_deepseek(_with_own_rope(raw), experts), raw)


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
