"""Gated DeltaNet: linear attention with a short convolution before and a gated norm behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unisono.core.cache import CacheTensor, LayerCache
from unisono.hardware.ops.portable import PortableOps
from unisono.models.dividing import Divides
from unisono.models.layers.linear import Linear, unfilled
from unisono.models.layers.short_conv import ShortConv
from unisono.models.layers.split import Split
from unisono.models.step import StepContext


@dataclass(frozen=True, kw_only=True, slots=True)
class DeltaNetShape:
    """Sizes of such a layer; value heads are a multiple of key heads."""

    num_key_heads: Annotated[int, Divides("key heads of linear attention")]
    num_value_heads: Annotated[int, Divides("value heads of linear attention")]
    key_dim: int
    value_dim: int
    conv_width: int

    @property
    def keys(self) -> int:
        """Width of the keys of all heads together."""
        return self.num_key_heads * self.key_dim

    @property
    def values(self) -> int:
        return self.num_value_heads * self.value_dim

    @property
    def qkv_rows(self) -> tuple[int, int, int]:
        """Query, key and value, as projection and convolution stack them."""
        return self.keys, self.keys, self.values

    @property
    def flops(self) -> int:
        """Decay, what is held for the key, the change, what is read; and the convolution."""
        return 7 * self.values * self.key_dim + 2 * self.conv_width * sum(self.qkv_rows)

    def cache(self, dtype: str) -> LayerCache:
        """The last inputs of the convolution, and the heads' states, float32 whatever the dtype."""
        inputs = CacheTensor(shape=(self.conv_width - 1, sum(self.qkv_rows)), dtype="float32")
        state = (self.num_value_heads, self.key_dim, self.value_dim)
        return LayerCache(kind="state", tensors=(inputs, CacheTensor(shape=state, dtype="float32")))


class GatedNorm(nn.Module):
    """RMS norm of heads, times silu of their gates."""

    float32_parameters: ClassVar[tuple[str, ...]] = ("weight",)

    def __init__(self, ops: PortableOps, size: int, eps: float) -> None:
        super().__init__()
        self.ops = ops
        self.eps = eps
        self.weight = unfilled(size)

    def forward(self, x: Tensor, gate: Tensor) -> Tensor:
        return self.ops.gated_rms_norm(x, gate, self.weight, self.eps)


class GatedDeltaNet(nn.Module):
    """The layer of Qwen3-Next (Yang et al., 2024, arXiv:2412.06464).

    Its projections come grouped by key head: with each its query, key, values and gates.
    """

    gives_term = True
    splits: ClassVar[Mapping[str, Split]] = {"A_log": "out", "dt_bias": "out"}
    float32_parameters: ClassVar[tuple[str, ...]] = ("A_log", "dt_bias")
    """Kept as they are whatever the dtype of the others."""

    def __init__(
        self, ops: PortableOps, shape: DeltaNetShape, hidden_size: int, eps: float, layer: int
    ) -> None:
        super().__init__()
        self.ops = ops
        self.layer = layer
        self.shape = shape
        self.in_proj_qkvz = Linear(ops, hidden_size, self.qkvz_rows(shape), split="out")
        self.in_proj_ba = Linear(
            ops, hidden_size, self.ba_rows(shape), split="out", quantizable=False
        )
        self.conv1d = ShortConv(ops, shape.qkv_rows, shape.conv_width)
        self.A_log = unfilled(shape.num_value_heads)
        self.dt_bias = unfilled(shape.num_value_heads)
        self.norm = GatedNorm(ops, shape.value_dim, eps)
        self.out_proj = Linear(ops, shape.values, {"out_proj": hidden_size}, split="in")

    @staticmethod
    def qkvz_rows(shape: DeltaNetShape) -> Mapping[str, int]:
        """Tensors of the checkpoint that project to query, key, value and gate, and their rows."""
        return {"in_proj_qkvz": sum(shape.qkv_rows) + shape.values}

    @staticmethod
    def ba_rows(shape: DeltaNetShape) -> Mapping[str, int]:
        """The same of what moves the state (b) and lets it decay (a)."""
        return {"in_proj_ba": 2 * shape.num_value_heads}

    def prepare(self) -> None:
        """Find the outputs of ``in_proj_qkvz`` in the order query, key, value, gate. Called once,
        when the weights are loaded."""
        shape, device = self.shape, self.A_log.device
        by_key_head = torch.arange(self.in_proj_qkvz.shape[0], device=device)
        by_key_head = by_key_head.view(shape.num_key_heads, -1)
        values = shape.values // shape.num_key_heads
        parts = torch.split(by_key_head, [shape.key_dim, shape.key_dim, values, values], 1)
        self.order = torch.cat([part.flatten() for part in parts])

    def forward(self, x: Tensor, step: StepContext) -> Tensor:
        """x [T, H] -> [T, H]; the states of this step go to the cache. Between the projections all
        is float32, so that nothing is rounded, or cast, on the way."""
        inputs, states = step.states(self.ops, self.layer, self.shape.cache, x)
        qkv, gate, b, a = self.project(x)
        qkv = F.silu(self.conv1d(qkv, inputs, step, self.layer))
        parts = torch.split(qkv, list(self.shape.qkv_rows), dim=1)
        sizes = self.shape.key_dim, self.shape.key_dim, self.shape.value_dim
        query, key, value = (
            torch.unflatten(part, 1, (-1, size)) for part, size in zip(parts, sizes, strict=True)
        )
        log_decay = -self.A_log.exp() * F.softplus(a + self.dt_bias)
        out = self.ops.gated_delta_rule(
            query, key, value, log_decay, b.sigmoid(), states, step.attention[self.layer]
        )
        out = self.norm(out, torch.unflatten(gate, 1, (-1, self.shape.value_dim)))
        return self.out_proj(out.flatten(1).to(x.dtype))

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """x [T, H] -> float32: query, key and value side by side [T, C], gate [T, Hv * V], b and a
        [T, Hv]."""
        ordered = self.in_proj_qkvz(x).index_select(1, self.order).float()
        qkv, gate = torch.split(ordered, [sum(self.shape.qkv_rows), self.shape.values], dim=1)
        ba = torch.unflatten(self.in_proj_ba(x), 1, (self.shape.num_key_heads, 2, -1))
        ba = ba.transpose(1, 2).to(torch.float32, memory_format=torch.contiguous_format)
        b, a = ba.flatten(2).unbind(1)
        return qkv, gate, b, a
