"""StarCoder 2 (Lozhkov et al., 2024): layer norms, biases everywhere, an MLP without a gate."""

from __future__ import annotations

from torch import nn

from unisono.hardware.ops.portable import PortableOps
from unisono.models.checkpoint.names import CheckpointNames
from unisono.models.config import ModelConfig
from unisono.models.decoder import Decoder
from unisono.models.layers.mlp import PlainMLP
from unisono.models.raw_config import RawConfig

__all__ = ["Starcoder2"]


class Starcoder2(Decoder):
    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.with_defaults(
            hidden_act="gelu_pytorch_tanh",
            num_key_value_heads=2,
            max_position_embeddings=4096,
            tie_word_embeddings=True,
        )
        bias = raw.flag("use_bias", True)
        return raw.dense_decoder(
            norm="layer",
            norm_bias=True,
            rms_norm_eps=raw.number("norm_epsilon", 1e-5),
            qkv_bias=bias,
            output_bias=bias,
            mlp_bias=bias,
            windows=raw.windows(),
        )

    def checkpoint_names(self) -> CheckpointNames:
        renamed = ((".mlp.c_fc.", ".mlp.up_proj."), (".mlp.c_proj.", ".mlp.down_proj."))
        return CheckpointNames(renamed=renamed)

    def make_mlp(self, ops: PortableOps, config: ModelConfig, layer: int) -> nn.Module:
        return PlainMLP(ops, config)
