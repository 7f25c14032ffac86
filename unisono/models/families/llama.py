"""Llama 2 and 3.x (Touvron et al., 2023; Dubey et al., 2024), and models of the same shape that
differ in biases, norms, rotation or activation."""

from __future__ import annotations

from unisono.models.config import ModelConfig
from unisono.models.decoder import Decoder
from unisono.models.layers.mlp import PlainMLP
from unisono.models.raw_config import RawConfig


class Llama(Decoder):
    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        return raw.dense_decoder(**raw.biases())


class SeedOss(Decoder):
    """Seed-OSS (ByteDance, 2025)."""

    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.with_defaults(
            num_key_value_heads=8, head_dim=128, max_position_embeddings=524_288
        )
        return raw.dense_decoder(
            qkv_bias=raw.flag("attention_bias", True),
            output_bias=raw.flag("attention_out_bias", False),
            mlp_bias=raw.flag("mlp_bias", False),
        )


class InternLM3(Decoder):
    """InternLM 3 (Shanghai AI Laboratory, 2025). Its own files say ``qkv_bias`` and ``bias``,
    transformers ``attention_bias`` and ``mlp_bias``."""

    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.with_defaults(
            num_key_value_heads=2,
            head_dim=128,
            max_position_embeddings=32_768,
            rms_norm_eps=1e-5,
        )
        bias = raw.flag("bias", raw.flag("mlp_bias", False))
        return raw.dense_decoder(
            qkv_bias=raw.flag("qkv_bias", raw.flag("attention_bias", False)),
            output_bias=bias,
            mlp_bias=bias,
        )


class Helium(Decoder):
    """Helium (Kyutai, 2025), which rotates neighbouring dimensions."""

    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.with_defaults(
            num_key_value_heads=20,
            head_dim=128,
            max_position_embeddings=4096,
            rms_norm_eps=1e-8,
            rope_theta=100_000.0,
        )
        return raw.dense_decoder(
            qkv_bias=raw.flag("attention_bias", False),
            mlp_bias=raw.flag("mlp_bias", False),
            interleaved=True,
        )


class Arcee(Decoder):
    """AFM 4.5B (Arcee, 2025), whose MLP squares a ReLU and has no gate."""

    mlp_class = PlainMLP

    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.with_defaults(hidden_act="relu2", max_position_embeddings=4096, rms_norm_eps=1e-5)
        return raw.dense_decoder(**raw.biases())


class SmolLM3(Decoder):
    """SmolLM3 (Hugging Face, 2025): some layers do not rotate; windows, where there are any, are
    theirs."""

    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.with_defaults(
            num_key_value_heads=4,
            max_position_embeddings=32_768,
            rope_theta=2_000_000.0,
            tie_word_embeddings=True,
        )
        rotating = raw.rotating_layers()
        windows = _windows(raw, rotating)
        return raw.dense_decoder(**raw.biases(), rotating=rotating, windows=windows)


def _windows(raw: RawConfig, rotating: list[bool]) -> tuple[int | None, ...]:
    if raw.get("layer_types"):
        return raw.windows()
    if not raw.flag("use_sliding_window", False) or raw.get("sliding_window") is None:
        return (None,) * len(rotating)
    window = raw.integer("sliding_window")
    return tuple(None if turns else window for turns in rotating)
