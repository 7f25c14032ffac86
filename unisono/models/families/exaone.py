"""EXAONE 4 and K-EXAONE (LG AI Research, 2025): where layers have windows, the others do not
rotate."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from torch import nn

from unisono.models.config import ModelConfig
from unisono.models.decoder import Decoder
from unisono.models.expert_config import corrected_experts, sparse_layers
from unisono.models.layers.residual import DecoderLayer, PostNormLayer
from unisono.models.raw_config import RawConfig


class Exaone4(Decoder):
    """Norms behind each branch."""

    layer_class: ClassVar[type[nn.Module]] = PostNormLayer

    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        if raw.values.get("sliding_window", ...) is None:  # null, which is not to be the default
            return raw.with_defaults(rms_norm_eps=1e-5).dense_decoder(qk_norm="head")
        raw = raw.with_defaults(rms_norm_eps=1e-5, sliding_window=4096, sliding_window_pattern=4)
        pattern = raw.get("sliding_window_pattern")
        if isinstance(pattern, str):  # "LLLG"
            raw = raw.with_values(sliding_window_pattern=len(pattern))
        windows = raw.windows_that_rotate(raw.integer("sliding_window_pattern", 1))
        return raw.dense_decoder(qk_norm="head", **windows)


class ExaoneMoe(Exaone4):
    """K-EXAONE: experts, and norms before each branch."""

    renamed = (
        (".mlp.e_score_correction_bias", ".mlp.gate.e_score_correction_bias"),
        (".shared_experts.", ".shared_expert."),
    )
    ignored = ("mtp.",)
    layer_class = DecoderLayer

    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.with_defaults(
            moe_intermediate_size=1024,
            num_experts=64,
            num_experts_per_tok=8,
            num_shared_experts=1,
            routed_scaling_factor=2.5,
            first_k_dense_replace=1,
        )
        experts = corrected_experts(raw, layers=sparse_layers(raw), shared="num_shared_experts")
        return replace(super().read_config(raw), experts=experts)
