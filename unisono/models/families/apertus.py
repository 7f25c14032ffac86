"""Apertus (Swiss AI Initiative, 2025): an MLP without a gate whose activation is learned."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unisono.hardware.ops.portable import PortableOps
from unisono.models.config import ModelConfig
from unisono.models.decoder import Decoder
from unisono.models.layers.linear import unfilled
from unisono.models.layers.mlp import PlainMLP
from unisono.models.raw_config import RawConfig

_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 12_000_000.0,
    "factor": 8.0,
    "original_max_position_embeddings": 8192,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
}


class XieluMLP(PlainMLP):
    """down(xielu(up x))."""

    def __init__(self, ops: PortableOps, config: ModelConfig) -> None:
        super().__init__(ops, config)
        self.act_fn = Xielu()

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(self.act_fn(self.up_proj(x)))


class Xielu(nn.Module):
    """The integral of an ELU, with learned slopes (Huang and Schlag, 2024)."""

    constants = ("beta", "eps")

    def __init__(self) -> None:
        super().__init__()
        self.alpha_p, self.alpha_n = unfilled(1), unfilled(1)
        self.beta, self.eps = unfilled(), unfilled()

    def forward(self, x: Tensor) -> Tensor:
        positive = F.softplus(self.alpha_p)
        negative = self.beta + F.softplus(self.alpha_n)
        rising = positive * x * x + self.beta * x
        falling = (torch.expm1(torch.minimum(x, self.eps)) - x) * negative + self.beta * x
        return torch.where(x > 0, rising, falling)


class Apertus(Decoder):
    renamed = (
        (".attention_layernorm.", ".input_layernorm."),
        (".feedforward_layernorm.", ".post_attention_layernorm."),
    )
    mlp_class = XieluMLP

    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.with_defaults(max_position_embeddings=65_536, rms_norm_eps=1e-5)
        raw.require(hidden_act="xielu", qk_norm=True, post_norm=False)
        if not raw.mapping("rope_parameters") and not raw.mapping("rope_scaling"):
            raw = raw.with_values(rope_parameters=_ROPE)
        raw = raw.with_values(hidden_act=None)
        return raw.dense_decoder(**raw.attention_biases(), qk_norm="head")
