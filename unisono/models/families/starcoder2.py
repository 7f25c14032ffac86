"""StarCoder 2 (Lozhkov et al., 2024): layer norms, biases everywhere, an MLP without a gate."""

from __future__ import annotations

from unisono.models.config import ModelConfig
from unisono.models.decoder import Decoder
from unisono.models.layers.mlp import PlainMLP
from unisono.models.raw_config import RawConfig

__all__ = ["Starcoder2"]


class Starcoder2(Decoder):
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
