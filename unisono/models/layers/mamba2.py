"""Mamba-2 (Dao and Gu, 2024, arXiv:2405.21060): a short convolution, a state-space recurrence, and
a norm by groups of what was gated."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unisono.core.cache import CacheTensor, LayerCache
from unisono.core.errors import CheckpointError, UnsupportedModelError
from unisono.hardware.ops.portable import PortableOps
from unisono.models.dividing import Divides
from unisono.models.layers.linear import Linear, unfilled
from unisono.models.layers.short_conv import ShortConv
from unisono.models.layers.split import Split
from unisono.models.raw_config import RawConfig
from unisono.models.step import StepContext

_NO_LIMITS = ([0.0, math.inf], [0.0, {"__float__": "Infinity"}])
"""Time-step limits that limit nothing: in plain JSON, and as transformers writes infinity."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mamba2Shape:
    """Heads of a group share the projections b and c."""

    num_heads: Annotated[int, Divides("Mamba heads")]
    head_dim: int
    num_groups: Annotated[int, Divides("groups of Mamba heads")]
    state_dim: int
    conv_width: int
    conv_bias: bool = True
    bias: bool = False
    """Bias of the projections."""

    @classmethod
    def read(cls, raw: RawConfig) -> Mamba2Shape:
        """From the fields of Bamba and Granite 4.

        Raises:
            CheckpointError: heads, groups and width contradict one another.
            UnsupportedModelError: limits of time steps.
        """
        limits = raw.get("time_step_limit", _NO_LIMITS[0])
        if limits not in _NO_LIMITS:
            raise UnsupportedModelError(
                f"{raw.source}: time_step_limit {limits!r:.80} is not supported."
            )
        width = raw.integer("mamba_expand", 2) * raw.integer("hidden_size")
        num_heads = raw.integer("mamba_n_heads", 128)
        given = raw.get("mamba_d_head", "auto")
        shape = cls(
            num_heads=num_heads,
            head_dim=width // num_heads if given == "auto" else raw.integer("mamba_d_head"),
            num_groups=raw.integer("mamba_n_groups", 1),
            state_dim=raw.integer("mamba_d_state", 256),
            conv_width=raw.integer("mamba_d_conv", 4, least=2),
            conv_bias=raw.flag("mamba_conv_bias", True),
            bias=raw.flag("mamba_proj_bias", False),
        )
        if shape.width != width or num_heads % shape.num_groups:
            raise CheckpointError(
                f"{raw.source}: {num_heads} heads of {shape.head_dim} in {shape.num_groups} groups "
                f"do not make a Mamba layer of width {width}."
            )
        return shape

    @property
    def width(self) -> int:
        return self.num_heads * self.head_dim

    @property
    def stacked(self) -> tuple[int, int, int]:
        """x, b and c, as they go through the convolution."""
        shared = self.num_groups * self.state_dim
        return self.width, shared, shared

    @property
    def rows(self) -> dict[str, int]:
        """Parts that checkpoints stack in ``in_proj``: the gate, x, b, c, and the time steps."""
        own, b, c = self.stacked
        names = ("in_proj_z", "in_proj_x", "in_proj_b", "in_proj_c", "in_proj_dt")
        return dict(zip(names, (own, own, b, c, self.num_heads), strict=True))

    @property
    def flops(self) -> int:
        """Decay, what is taken in, what is read; and the convolution."""
        return 5 * self.width * self.state_dim + 2 * self.conv_width * sum(self.stacked)

    def cache(self, dtype: str) -> LayerCache:
        """The last inputs of the convolution, and the heads' states."""
        inputs = CacheTensor(shape=(self.conv_width - 1, sum(self.stacked)), dtype=dtype)
        state = (self.num_heads, self.state_dim, self.head_dim)
        return LayerCache(kind="state", tensors=(inputs, CacheTensor(shape=state, dtype="float32")))


class GroupNorm(nn.Module):
    """RMS norm of x * silu(gate), group by group, in float32 inside."""

    splits: ClassVar[Mapping[str, Split]] = {"weight": "out"}

    def __init__(self, size: int, num_groups: int, eps: float) -> None:
        super().__init__()
        self.num_groups, self.eps = num_groups, eps
        self.weight = unfilled(size)

    def forward(self, x: Tensor, gate: Tensor) -> Tensor:
        gated = x.float() * F.silu(gate.float())
        groups = gated.view(len(x), self.num_groups, -1)
        normed = groups * torch.rsqrt(groups.square().mean(-1, keepdim=True) + self.eps)
        return self.weight * normed.flatten(1).to(x.dtype)


class Mamba2(nn.Module):
    gives_term = True
    splits: ClassVar[Mapping[str, Split]] = {"A_log": "out", "D": "out", "dt_bias": "out"}
    float32_parameters: ClassVar[tuple[str, ...]] = ("A_log", "D", "dt_bias")
    """Kept as they are whatever the dtype of the others."""

    def __init__(
        self, ops: PortableOps, shape: Mamba2Shape, hidden_size: int, eps: float, layer: int
    ) -> None:
        super().__init__()
        self.ops = ops
        self.layer = layer
        self.shape = shape
        self.in_proj = Linear(ops, hidden_size, shape.rows, split="out", bias=shape.bias)
        self.conv1d = ShortConv(ops, shape.stacked, shape.conv_width, bias=shape.conv_bias)
        self.A_log = unfilled(shape.num_heads)
        self.D = unfilled(shape.num_heads)
        self.dt_bias = unfilled(shape.num_heads)
        self.group_norm = GroupNorm(shape.width, shape.num_groups, eps)
        self.out_proj = Linear(
            ops, shape.width, {"out_proj": hidden_size}, split="in", bias=shape.bias
        )

    def forward(self, x: Tensor, step: StepContext) -> Tensor:
        """x [T, H] -> [T, H]; the states of this step go to the cache."""
        inputs, states = step.states(self.ops, self.layer, self.shape.cache, x)
        shape = self.shape
        sizes = [shape.width, sum(shape.stacked), shape.num_heads]
        gate, mixed, dt = torch.split(self.in_proj(x), sizes, dim=1)
        mixed = F.silu(self.conv1d(mixed, inputs, step, self.layer))
        own, b, c = torch.split(mixed, list(shape.stacked), dim=1)
        out = self.ops.state_space(
            own.reshape(len(x), shape.num_heads, shape.head_dim),
            F.softplus(dt.float() + self.dt_bias),
            -self.A_log.exp(),
            b.reshape(len(x), shape.num_groups, shape.state_dim),
            c.reshape(len(x), shape.num_groups, shape.state_dim),
            self.D,
            states,
            step.attention[self.layer],
        )
        return self.out_proj(self.group_norm(out.flatten(1), gate))
