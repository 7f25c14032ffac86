"""Qwen3 with experts (Yang et al., 2025), and the language model of Qwen3-VL with experts."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from unisono.hardware.ops.experts import Routing
from unisono.models.checkpoint.names import TEXT_OF_MULTIMODAL, CheckpointNames
from unisono.models.checkpoint.splits import fused_experts
from unisono.models.config import ModelConfig
from unisono.models.decoder import Decoder
from unisono.models.expert_config import read_num_experts, stepped_layers
from unisono.models.expert_shape import ExpertShape
from unisono.models.raw_config import RawConfig

__all__ = ["Qwen3Moe", "Qwen3VLMoe"]


class Qwen3Moe(Decoder):
    default_num_experts: ClassVar[int] = 128

    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        bias = raw.flag("attention_bias", False)
        raw = raw.with_defaults(sliding_window=4096, max_position_embeddings=32768)
        if not raw.flag("use_sliding_window", False):
            raw = raw.with_values(sliding_window=None)
        routing = Routing(
            num_chosen=raw.integer("num_experts_per_tok", 8),
            normalized=raw.flag("norm_topk_prob", False),
        )
        experts = ExpertShape(
            num_experts=read_num_experts(
                raw, "num_experts", "num_local_experts", default=cls.default_num_experts
            ),
            size=raw.integer("moe_intermediate_size", 768),
            routing=routing,
            layers=stepped_layers(raw),
        )
        return raw.dense_decoder(
            qk_norm="head",
            qkv_bias=bias,
            output_bias=bias,
            windows=raw.windows(),
            experts=experts,
        )


class Qwen3VLMoe(Qwen3Moe):
    """Text alone."""

    default_num_experts = 60

    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        text = raw.text().with_defaults(norm_topk_prob=True)
        rope = text.mapping("rope_parameters") or text.mapping("rope_scaling")
        # A token of text has the same position in all three dimensions of an image.
        plain = {name: value for name, value in rope.items() if not name.startswith("mrope_")}
        return super().read_config(text.with_values(rope_parameters=plain, rope_scaling=None))

    def checkpoint_names(self) -> CheckpointNames:
        experts = self.config.experts
        assert experts is not None
        splits = fused_experts(experts.num_experts, hidden_size=self.config.hidden_size)
        return replace(TEXT_OF_MULTIMODAL, splits=splits)
