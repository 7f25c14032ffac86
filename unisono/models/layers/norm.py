"""Norms: of the residual stream, of branches, and of heads."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from unisono.hardware.ops.portable import PortableOps
from unisono.hardware.ops.standard import StandardNorm
from unisono.models.config import ModelConfig
from unisono.models.layers.described import Described
from unisono.models.layers.linear import unfilled
from unisono.models.layers.split import Split


class Norm(Described):
    """A norm over the last dimension, alone or behind the addition to the residual stream."""

    def __init__(self, ops: PortableOps, size: int, eps: float) -> None:
        super().__init__()
        self.ops = ops
        self.eps = eps
        self.weight = unfilled(size)

    def add(self, x: Tensor, residual: Tensor | None) -> tuple[Tensor, Tensor]:
        """The norm of residual + x, and residual + x; a residual of None is zero."""
        residual = x if residual is None else residual + x
        return self(residual), residual

    def prepare(self) -> None:
        """Bring the loaded weight into the form that ``forward`` uses. Called once."""


class RMSNorm(Norm):
    """Root-mean-square norm, multiplied with its weight before it is rounded."""

    def forward(self, x: Tensor) -> Tensor:
        return self.ops.rms_norm(x, self.weight, self.eps)

    def add(self, x: Tensor, residual: Tensor | None) -> tuple[Tensor, Tensor]:
        return self.ops.add_rms_norm(x, residual, self.weight, self.eps)

    def standard(self) -> StandardNorm | None:
        return StandardNorm(self.weight, self.eps)


class ZeroCentredRMSNorm(RMSNorm):
    """Root-mean-square norm of whose weight a checkpoint holds the distance from 1 (Gemma). The
    weight is held whole, and in float32: the sum has more bits than 16-bit formats have."""

    def prepare(self) -> None:
        self.weight = nn.Parameter(1.0 + self.weight.float(), requires_grad=False)


class LayerNorm(Norm):
    """Layer norm, with or without a bias."""

    bias: Tensor | None

    def __init__(self, ops: PortableOps, size: int, eps: float, *, bias: bool) -> None:
        super().__init__(ops, size, eps)
        self.bias = unfilled(size) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return self.ops.layer_norm(x, self.weight, self.bias, self.eps)


class ZeroCentredLayerNorm(LayerNorm):
    """Layer norm of whose weight a checkpoint holds the distance from 1 (Nemotron). The sum has the
    weight's dtype."""

    def prepare(self) -> None:
        self.weight = nn.Parameter(self.weight + 1.0, requires_grad=False)


class ProjectionNorm(RMSNorm):
    """Root-mean-square norm over all heads of a projection at once, x [T, heads, D].

    Where ranks share the heads, equally many to each, ``mean_of_ranks`` makes one norm of theirs.
    """

    mean_of_ranks: Callable[[Tensor], Tensor] | None = None
    """A function that takes float32 [T, 1] to its mean over the ranks; None: there is one rank."""

    def __init__(self, ops: PortableOps, size: int, eps: float, split: Split) -> None:
        super().__init__(ops, size, eps)
        self.splits = {"weight": split}

    def forward(self, x: Tensor) -> Tensor:
        whole = x.flatten(1)
        if self.mean_of_ranks is None:
            return self.ops.rms_norm(whole, self.weight, self.eps).view_as(x)
        x32 = whole.float()
        square = self.mean_of_ranks(x32.square().mean(-1, keepdim=True))
        return (x32 * torch.rsqrt(square + self.eps) * self.weight).to(x.dtype).view_as(x)


def make_norm(ops: PortableOps, config: ModelConfig, size: int) -> Norm:
    """The norm that a model has everywhere."""
    if config.norm in _LAYER_NORMS:
        return _LAYER_NORMS[config.norm](ops, size, config.rms_norm_eps, bias=config.norm_bias)
    return _RMS_NORMS[config.norm](ops, size, config.rms_norm_eps)


_RMS_NORMS = {"rms": RMSNorm, "zero_centred_rms": ZeroCentredRMSNorm}
_LAYER_NORMS = {"layer": LayerNorm, "zero_centred_layer": ZeroCentredLayerNorm}
