"""Multi-layer perceptrons of dense layers."""

from __future__ import annotations

from torch import Tensor, nn

from unisono.hardware.ops.portable import PortableOps
from unisono.hardware.ops.standard import StandardMLP
from unisono.models.config import ModelConfig
from unisono.models.layers.described import Described
from unisono.models.layers.linear import Linear


class MLP(Described):
    """down(act(gate x) * up x)."""

    gives_term = True

    def __init__(self, ops: PortableOps, config: ModelConfig) -> None:
        super().__init__()
        self.ops = ops
        self.activation = config.activation
        size, bias = config.intermediate_size, config.mlp_bias
        self.gate_up_proj = Linear(
            ops, config.hidden_size, {"gate_proj": size, "up_proj": size}, split="out", bias=bias
        )
        self.down_proj = Linear(ops, size, {"down_proj": config.hidden_size}, split="in", bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(self.ops.act_mul(self.gate_up_proj(x), self.activation))

    def standard(self) -> StandardMLP | None:
        gate_up, down = self.gate_up_proj.standard(), self.down_proj.standard()
        if self.activation != "silu" or gate_up is None or down is None:
            return None
        return StandardMLP(gate_up=gate_up, down=down)


class PlainMLP(nn.Module):
    """down(act(up x)), without a gate."""

    gives_term = True

    def __init__(self, ops: PortableOps, config: ModelConfig) -> None:
        super().__init__()
        self.ops = ops
        self.activation = config.activation
        size, bias = config.intermediate_size, config.mlp_bias
        self.up_proj = Linear(ops, config.hidden_size, {"up_proj": size}, split="out", bias=bias)
        self.down_proj = Linear(ops, size, {"down_proj": config.hidden_size}, split="in", bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(self.ops.act(self.up_proj(x), self.activation))
