"""Any CPU that torch runs on.

Overrides two ops. ``linear`` keeps bfloat16 weights in oneDNN's own layout: laid out again on every
call, as ``F.linear`` does for a few rows, a weight is read more than once. ``attention`` hands
each row to torch's fused kernel, as a view of the cache where the row's blocks lie side by side.
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from unisono.hardware import nucleus
from unisono.hardware.attention import AttentionStep
from unisono.hardware.base import Facts, HostHardware, MemoryInfo
from unisono.hardware.portable import PortableOps, visible

__all__ = ["CpuHardware", "CpuOps"]


@dataclass(frozen=True, slots=True)
class PackedWeight:
    """A bfloat16 weight in oneDNN's layout; it can only be multiplied with."""

    data: Tensor
    shape: tuple[int, int]


class CpuOps(PortableOps):
    """Plain torch, arranged for a CPU."""

    def prepare_linear(self, weight: Tensor) -> Any:
        if weight.dtype != torch.bfloat16 or not _can_pack():
            return weight
        with torch.no_grad():
            packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), None)
        return PackedWeight(packed, (weight.shape[0], weight.shape[1]))

    def linear(self, x: Tensor, weight: Any, bias: Tensor | None = None) -> Tensor:
        if isinstance(weight, PackedWeight):
            return torch.ops.mkldnn._linear_pointwise(x, weight.data, bias, "none", [], "")
        return F.linear(x, weight, bias)

    def rms_norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        return F.rms_norm(x, (x.shape[-1],), weight, eps)

    def argmax(self, logits: Tensor) -> Tensor:
        return nucleus.argmax(logits)

    def draw(
        self,
        logits: Tensor,
        uniforms: Tensor,
        *,
        top_k: list[int],
        top_p: list[float],
        min_p: list[float],
    ) -> Tensor:
        return nucleus.draw(self, logits, uniforms, top_k, top_p, min_p)

    def plan_attention(self, step: AttentionStep, kv: Tensor) -> Any:
        return [_plan_row(step, row) for row in range(len(step.query_lens))]

    def attention(
        self,
        query: Tensor,
        kv: Tensor,
        step: AttentionStep,
        *,
        scale: float,
        softcap: float | None = None,
        sinks: Tensor | None = None,
    ) -> Tensor:
        if softcap is not None or sinks is not None:
            plan, step.plan = step.plan, PortableOps.plan_attention(self, step, kv)
            try:
                return PortableOps.attention(
                    self, query, kv, step, scale=scale, softcap=softcap, sinks=sinks
                )
            finally:
                step.plan = plan
        outputs = []
        at = 0
        for row in step.plan:
            outputs.append(_attend_row(query[at : at + row.num_queries], kv, row, scale))
            at += row.num_queries
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)


@dataclass(frozen=True, slots=True)
class _RowPlan:
    """One row: ``length`` cached tokens from cache token ``first`` on, or in ``blocks``."""

    num_queries: int
    length: int
    first: int
    blocks: Tensor | None
    mask: Tensor | None
    causal: bool


def _plan_row(step: AttentionStep, row: int) -> _RowPlan:
    num_queries, context = step.query_lens[row], step.context_lens[row]
    skipped = 0
    if step.window is not None:
        skipped = max(0, context - num_queries - step.window + 1) // step.block_size
    table = step.block_tables[row][skipped : -(-context // step.block_size)]
    length = context - skipped * step.block_size
    adjacent = table[-1] - table[0] == len(table) - 1 and table == list(
        range(table[0], table[-1] + 1)
    )
    windowed = step.window is not None and length > step.window
    causal = num_queries == length and num_queries > 1 and not windowed
    mask = None
    if windowed or (num_queries > 1 and not causal):
        mask = visible(num_queries, length, step.window, torch.device("cpu"))
    return _RowPlan(
        num_queries=num_queries,
        length=length,
        first=table[0] * step.block_size,
        blocks=None if adjacent else torch.tensor(table),
        mask=mask,
        causal=causal,
    )


def _attend_row(query: Tensor, kv: Tensor, row: _RowPlan, scale: float) -> Tensor:
    """query [n, Hq, D] -> [n, Hq, D]. Key-value heads are the kernel's batch, so that the query
    heads that share one need no copy of it."""
    if row.blocks is None:
        both = kv.flatten(1, 2)[:, row.first : row.first + row.length]
    else:
        both = kv.index_select(1, row.blocks).flatten(1, 2)[:, : row.length]
    num_queries, num_heads, size = query.shape
    num_kv_heads = both.shape[2]
    groups = num_heads // num_kv_heads
    keys, values = both[0].transpose(0, 1).unsqueeze(1), both[1].transpose(0, 1).unsqueeze(1)
    if num_queries == 1:
        q = query.view(num_kv_heads, 1, groups, size)
        out = F.scaled_dot_product_attention(q, keys, values, attn_mask=row.mask, scale=scale)
        return out.reshape(1, num_heads, size)
    q = query.view(num_queries, num_kv_heads, groups, size).permute(1, 2, 0, 3)
    shape = (num_kv_heads, groups, row.length, size)
    out = F.scaled_dot_product_attention(
        q,
        keys.expand(shape),
        values.expand(shape),
        attn_mask=row.mask,
        is_causal=row.causal,
        scale=scale,
    )
    return out.permute(2, 0, 1, 3).reshape(num_queries, num_heads, size)


def _can_pack() -> bool:
    return torch._C._has_mkldnn and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


class CpuHardware(HostHardware):
    """The host's processor."""

    facts = Facts(
        name="cpu",
        device_type="cpu",
        dtypes=("bfloat16", "float32", "float16"),
        kv_block_size=32,
        distributed_backend="gloo",
        ray_resource="CPU",
        detection_order=1000,
    )
    ops_class = CpuOps

    @classmethod
    def describe(cls, index: int) -> str:
        return f"{_processor_name()}, {torch.get_num_threads()} threads"

    def memory(self) -> MemoryInfo:
        page = os.sysconf("SC_PAGE_SIZE")
        total = page * os.sysconf("SC_PHYS_PAGES")
        return MemoryInfo(
            free=_available_bytes() or page * os.sysconf("SC_AVPHYS_PAGES"), total=total
        )


def _processor_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [
                line.split(":", 1)[1].strip() for line in file if line.startswith("model name")
            ]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def _available_bytes() -> int | None:
    """What Linux could hand out without swapping, page cache included."""
    try:
        with open("/proc/meminfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None
