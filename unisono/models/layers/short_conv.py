"""Short convolutions: in front of a recurrence, or as a layer of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from unisono.core.cache import CacheTensor, LayerCache
from unisono.hardware.ops.portable import PortableOps
from unisono.models.dividing import Divides
from unisono.models.layers.linear import Linear, unfilled
from unisono.models.layers.split import Split
from unisono.models.step import StepContext


class ShortConv(nn.Module):
    """Depthwise causal convolution of what is stacked along C; the weight is [C, 1, W], as torch's
    Conv1d has it."""

    splits: ClassVar[Mapping[str, Split]] = {"weight": "out", "bias": "out"}
    float32_parameters: ClassVar[tuple[str, ...]] = ("weight", "bias")
    """Kept in float32, in which the convolution is summed."""
    bias: Tensor | None

    def __init__(
        self, ops: PortableOps, stacked: tuple[int, ...], width: int, *, bias: bool = False
    ) -> None:
        super().__init__()
        self.ops = ops
        self.stacked = stacked
        self.weight = unfilled(sum(stacked), 1, width)
        self.bias = unfilled(sum(stacked)) if bias else None

    def forward(self, x: Tensor, states: Tensor, step: StepContext, layer: int) -> Tensor:
        """x [T, C] -> [T, C], before an activation."""
        weight = self.weight.squeeze(1)
        return self.ops.causal_conv(x, weight, states, step.attention[layer], self.bias)


@dataclass(frozen=True, kw_only=True, slots=True)
class ConvShape:
    channels: Annotated[int, Divides("channels of convolutions")]
    width: int
    bias: bool

    @property
    def flops(self) -> int:
        return 2 * self.width * self.channels

    def cache(self, dtype: str) -> LayerCache:
        """The last inputs."""
        inputs = CacheTensor(shape=(self.width - 1, self.channels), dtype=dtype)
        return LayerCache(kind="state", tensors=(inputs,))


class GatedConv(nn.Module):
    """c * conv(b * x), all three projected (Liquid AI's LFM2, 2025)."""

    gives_term = True

    def __init__(self, ops: PortableOps, shape: ConvShape, hidden_size: int, layer: int) -> None:
        super().__init__()
        self.ops, self.layer, self.shape = ops, layer, shape
        channels, bias = shape.channels, shape.bias
        parts = dict.fromkeys(("in_proj_b", "in_proj_c", "in_proj_x"), channels)
        self.in_proj = Linear(ops, hidden_size, parts, split="out", bias=bias)
        self.conv1d = ShortConv(ops, (channels,), shape.width, bias=bias)
        self.out_proj = Linear(ops, channels, {"out_proj": hidden_size}, split="in", bias=bias)

    def forward(self, x: Tensor, step: StepContext) -> Tensor:
        """x [T, H] -> [T, H]; the inputs of this step go to the cache."""
        b, c, own = torch.chunk(self.in_proj(x), 3, dim=1)
        (inputs,) = step.states(self.ops, self.layer, self.shape.cache, x)
        return self.out_proj(c * self.conv1d(b * own, inputs, step, self.layer))
