"""Phi-1, 1.5 and 2 (Gunasekar et al., 2023): both branches beside one another, layer norms, biases
everywhere, half of each head rotated."""

from __future__ import annotations

import torch

from unisono.hardware.ops.portable import PortableOps
from unisono.models.config import ModelConfig
from unisono.models.decoder import Decoder
from unisono.models.layers.linear import Head
from unisono.models.layers.mlp import PlainMLP
from unisono.models.layers.residual import ParallelLayer
from unisono.models.raw_config import RawConfig


class Phi(Decoder):
    renamed = (
        (".self_attn.dense.", ".self_attn.o_proj."),
        (".mlp.fc1.", ".mlp.up_proj."),
        (".mlp.fc2.", ".mlp.down_proj."),
        ("^model.final_layernorm.", "model.norm."),
    )
    layer_class = ParallelLayer
    mlp_class = PlainMLP

    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.with_defaults(hidden_act="gelu_new", partial_rotary_factor=0.5)
        raw.require(qk_layernorm=False, tie_word_embeddings=False)
        return raw.dense_decoder(
            norm="layer",
            norm_bias=True,
            rms_norm_eps=raw.number("layer_norm_eps", 1e-5),
            qkv_bias=True,
            output_bias=True,
            mlp_bias=True,
        )

    def __init__(self, config: ModelConfig, ops: PortableOps, device: torch.device) -> None:
        super().__init__(config, ops, device)
        self.lm_head = Head(ops, config.hidden_size, config.vocab_size, bias=True)
