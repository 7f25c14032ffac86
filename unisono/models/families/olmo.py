"""OLMo 2 (Team OLMo, 2025) and OLMo 3, OLMoE (Muennighoff et al., 2024) and FlexOlmo (Shi et al.,
2025): norms of query and key whole."""

from __future__ import annotations

from dataclasses import replace

from unisono.models.config import ModelConfig
from unisono.models.decoder import Decoder
from unisono.models.expert_config import read_experts, read_routing
from unisono.models.expert_shape import ExpertShape
from unisono.models.layers.residual import PostNormLayer
from unisono.models.raw_config import RawConfig


class Olmo2(Decoder):
    """Norms behind each branch."""

    layer_class = PostNormLayer

    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.with_defaults(rms_norm_eps=1e-5)
        biases = raw.attention_biases()
        return raw.dense_decoder(**biases, qk_norm="projection")


class Olmo3(Olmo2):
    """Windows in three layers of four; only layers that see everything scale their rotation."""

    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.with_defaults(sliding_window=4096, rope_theta=500_000.0)
        config = super().read_config(raw)
        windows = raw.windows(whole_every=4)
        whole = raw.rope(config.head_dim, "full_attention")
        local = raw.local_rope(config.head_dim, raw.number("rope_theta"))
        ropes = tuple(whole if window is None else local for window in windows)
        return replace(config, windows=windows, rope=whole, layer_ropes=ropes)


class Olmoe(Decoder):
    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw.require(clip_qkv=None)
        raw = raw.with_defaults(
            rms_norm_eps=1e-5,
            max_position_embeddings=4096,
            num_experts=64,
            num_experts_per_tok=8,
        )
        biases = raw.attention_biases()
        return raw.dense_decoder(**biases, qk_norm="projection", experts=_experts(raw))


class FlexOlmo(Olmo2):
    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.with_defaults(
            rms_norm_eps=1e-6,
            rope_theta=500_000.0,
            max_position_embeddings=4096,
            num_experts=7,
            num_experts_per_tok=5,
        )
        return replace(super().read_config(raw), experts=_experts(raw))


def _experts(raw: RawConfig) -> ExpertShape:
    return read_experts(raw, read_routing(raw, normalized=False), width="intermediate_size")
