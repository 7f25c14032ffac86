"""StarCoder 2 (Lozhkov et al., 2024), Nemotron, Jais 2 and Stable LM: layer norms and biases."""

from __future__ import annotations

from unisono.models.config import ModelConfig
from unisono.models.decoder import Decoder
from unisono.models.layers.mlp import PlainMLP
from unisono.models.raw_config import RawConfig


class Starcoder2(Decoder):
    """An MLP without a gate."""

    renamed = ((".mlp.c_fc.", ".mlp.up_proj."), (".mlp.c_proj.", ".mlp.down_proj."))
    mlp_class = PlainMLP

    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.with_defaults(
            hidden_act="gelu_pytorch_tanh",
            num_key_value_heads=2,
            max_position_embeddings=4096,
            tie_word_embeddings=True,
        )
        return raw.dense_decoder(
            **raw.biases("use_bias", "use_bias", default=True),
            norm="layer",
            norm_bias=True,
            rms_norm_eps=raw.number("norm_epsilon", 1e-5),
            windows=raw.windows(),
        )


class Nemotron(Decoder):
    """Nemotron 3 and 4, Minitron (NVIDIA, 2024): weights of norms around 1, half of each head
    rotated, and an MLP that squares a ReLU and has no gate."""

    mlp_class = PlainMLP

    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.with_defaults(
            hidden_act="relu2", max_position_embeddings=4096, partial_rotary_factor=0.5
        )
        return raw.dense_decoder(
            **raw.biases(),
            norm="zero_centred_layer",
            norm_bias=True,
            rms_norm_eps=raw.number("norm_eps", 1e-5),
        )


class Jais2(Decoder):
    """Jais 2 (Inception, 2025), whose MLP squares a ReLU and has no gate."""

    mlp_class = PlainMLP

    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.with_defaults(hidden_act="relu2", max_position_embeddings=8192)
        return raw.dense_decoder(
            **raw.biases(default=True),
            norm="layer",
            norm_bias=True,
            rms_norm_eps=raw.number("layer_norm_eps", 1e-5),
        )


class StableLm(Decoder):
    """Stable LM 2 and 3B (Stability AI, 2023), which rotates a quarter of each head."""

    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.with_defaults(
            num_key_value_heads=32, max_position_embeddings=4096, partial_rotary_factor=0.25
        )
        raw.require(qk_layernorm=False, use_parallel_residual=False)
        return raw.dense_decoder(
            norm="layer",
            norm_bias=True,
            rms_norm_eps=raw.number("layer_norm_eps", 1e-5),
            qkv_bias=raw.flag("use_qkv_bias", False),
        )
