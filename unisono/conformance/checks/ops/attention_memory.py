"""``attention_bytes``: what the engine reserves for a step is what attention takes at most."""

from __future__ import annotations

import torch

from unisono.conformance.checks.ops.attention import Setting
from unisono.conformance.context import Context
from unisono.conformance.expected.comparing import Mismatch
from unisono.conformance.registry import check
from unisono.hardware.ops.attention import AttentionSize

_STEPS = (((1, 700),), ((300, 300),), ((200, 1500),), ((1, 700),) * 20)
"""Rows of a step: queries and context."""
_SLACK = 1 << 20
"""Bytes that allocators round up to."""


@check(
    "ops.attention_bytes",
    "attention takes no more memory than it says, where the device counts it",
    covers=("attention_bytes",),
)
def attention_bytes(context: Context) -> None:
    for dtype in context.dtypes:
        for rows in _STEPS:
            for window in (None, 100):
                words = f"{len(rows)} of {rows[0][0]} queries, window {window}"
                name = f"{str(dtype).removeprefix('torch.')}, {words}"
                setting = Setting(label="", dtype=dtype, rows=rows, block_size=16, window=window)
                with context.case(name):
                    _verify(context, setting)


def _verify(context: Context, setting: Setting) -> None:
    queries, length = sum(n for n, _ in setting.rows), max(c for _, c in setting.rows)
    stated = [context.ops.attention_bytes(_size(setting, queries, c)) for c in (length, 2 * length)]
    if not 0 < stated[0] <= stated[1]:
        raise Mismatch(f"{stated[0]} bytes behind {length} tokens, {stated[1]} behind twice that")
    taken = _taken(context, setting)
    if taken is not None and taken > stated[0] + _SLACK:
        raise Mismatch(f"takes {taken} bytes where it says {stated[0]}")


def _size(setting: Setting, queries: int, length: int) -> AttentionSize:
    return AttentionSize(
        num_rows=len(setting.rows),
        num_queries=queries,
        context=length,
        window=setting.window,
        num_heads=setting.heads,
        num_kv_heads=setting.kv_heads,
        head_dim=setting.head_dim,
        capped=False,
    )


def _taken(context: Context, setting: Setting) -> int | None:
    """Beside query, cache and result; None where the device does not count."""
    hardware, case = context.hardware, setting.make()
    kv, query = context.put(case.kv), context.put(case.query)
    case.step.slots = context.put(case.step.slots)
    with torch.inference_mode():
        case.step.plan = hardware.ops.plan_attention(case.step, kv)
        hardware.synchronize()
        hardware.reset_peak_memory()
        before = hardware.memory_use().allocated
        out = hardware.ops.attention(query, kv, case.step, scale=0.1)
        hardware.synchronize()
        peak = hardware.memory_use().peak_allocated
    return None if before is None or peak is None else peak - before - out.nbytes
