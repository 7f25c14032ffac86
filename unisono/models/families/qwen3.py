"""Qwen3 (Yang et al., 2025), dense and with experts, and the language model of Qwen3-VL with
experts: query and key heads are normed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from unisono.models.checkpoint.names import TEXT_OF_MULTIMODAL
from unisono.models.checkpoint.splits import FusedExperts, Split
from unisono.models.config import ModelConfig
from unisono.models.decoder import Decoder
from unisono.models.expert_config import read_experts, read_routing, stepped_layers
from unisono.models.raw_config import RawConfig


class Qwen3(Decoder):
    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.with_defaults(
            num_key_value_heads=32, head_dim=128, max_position_embeddings=32_768
        )
        windows = raw.switched_windows()
        return raw.dense_decoder(**raw.attention_biases(), qk_norm="head", windows=windows)


class Qwen3Moe(Decoder):
    default_num_experts: ClassVar[int] = 128

    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.with_defaults(
            sliding_window=4096,
            max_position_embeddings=32768,
            moe_intermediate_size=768,
            num_experts_per_tok=8,
        )
        if not raw.flag("use_sliding_window", False):
            raw = raw.with_values(sliding_window=None)
        routing = read_routing(raw, normalized=False)
        experts = read_experts(
            raw, routing, layers=stepped_layers(raw), default=cls.default_num_experts
        )
        return raw.dense_decoder(
            **raw.attention_biases(), qk_norm="head", windows=raw.windows(), experts=experts
        )


class Qwen3VLMoe(Qwen3Moe):
    """Text alone."""

    renamed = TEXT_OF_MULTIMODAL.renamed
    ignored = TEXT_OF_MULTIMODAL.ignored
    default_num_experts = 60

    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        text = raw.text().with_defaults(norm_topk_prob=True)
        rope = text.mapping("rope_parameters") or text.mapping("rope_scaling")
        # A token of text has the same position in all three dimensions of an image.
        plain = {name: value for name, value in rope.items() if not name.startswith("mrope_")}
        return super().read_config(text.with_values(rope_parameters=plain, rope_scaling=None))

    def stored_splits(self) -> Sequence[Split]:
        assert self.config.experts is not None
        return (FusedExperts(self.config.experts.num_experts, hidden_size=self.config.hidden_size),)
