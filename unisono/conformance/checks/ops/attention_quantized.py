"""``kv_write`` and ``attention`` where keys and values are kept in 8 bits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from unisono.conformance import inputs
from unisono.conformance.checks.ops.attention import Setting
from unisono.conformance.context import Context
from unisono.conformance.expected.bounds import U32
from unisono.conformance.expected.comparing import Expected
from unisono.conformance.registry import check
from unisono.core.cache import KV_DTYPES
from unisono.hardware.ops.quantized_kv import QuantizedKV, largest_level, quantize_heads


def _forms(context: Context) -> Iterator[tuple[str, torch.dtype]]:
    """Names and dtypes in which the device keeps keys and values."""
    for name, dtype in KV_DTYPES.items():
        if dtype is not None and (name != "fp8" or "fp8" in context.hardware.facts.features):
            yield name, getattr(torch, dtype)


def _settings(dtype: torch.dtype, *, quick: bool) -> Iterator[Setting]:
    for size in (80,) if quick else (16, 64, 80, 128):
        yield Setting(label=f"head_dim {size}", dtype=dtype, head_dim=size)
    yield Setting(label="one key-value head", dtype=dtype, heads=4, kv_heads=1)
    yield Setting(label="window 5", dtype=dtype, window=5)
    yield Setting(label="blocks side by side", dtype=dtype, scattered=False, block_size=16)
    options: dict[str, Any] = {"sinks": True, "softcap": 9.0, "window": 7}
    yield Setting(label="sinks, soft cap and window", dtype=dtype, **options)
    rows = ((1, 2100), (20, 2500)) if quick else ((1, 2100), (300, 2500))
    yield Setting(label="long", dtype=dtype, rows=rows, heads=2, kv_heads=1, block_size=16)


@check("ops.attention_quantized", "attention over keys and values of 8 bits")
def attention_quantized(context: Context) -> None:
    for form, levels_dtype in _forms(context):
        for dtype in context.dtypes:
            for setting in _settings(dtype, quick=context.quick):
                name = f"{form}, {str(dtype).removeprefix('torch.')} {setting.label}"
                with context.case(name):
                    case = setting.make()
                    levels, scales = quantize_heads(case.kv, levels_dtype)
                    exact = levels.double() * scales.double().unsqueeze(-1)
                    kv = QuantizedKV(context.put(levels), context.put(scales))
                    case.verify(context, replace(case, kv=exact).expected(), kv)


@check("ops.kv_write_quantized", "keys and values are rounded to 8 bits, each head by its largest")
def kv_write_quantized(context: Context) -> None:
    for form, levels_dtype in _forms(context):
        for dtype in context.dtypes:
            for setting in (
                Setting(label="mixed rows", dtype=dtype, head_dim=16),
                Setting(label="one token", dtype=dtype, rows=((1, 5),)),
                Setting(label="nothing", dtype=dtype, rows=()),
            ):
                name = f"{form}, {str(dtype).removeprefix('torch.')} {setting.label}"
                with context.case(name):
                    _write(context, setting, levels_dtype)


def _write(context: Context, setting: Setting, levels_dtype: torch.dtype) -> None:
    case = setting.make()
    before = QuantizedKV(*quantize_heads(case.kv.nan_to_num(0.0), levels_dtype))
    # Views of a wider tensor, as the model hands them over.
    count, heads = case.query.shape[0], setting.kv_heads
    both = inputs.normal(count, 3 * heads, setting.head_dim, dtype=setting.dtype, seed=5)
    if count > 2:
        both[0, 0], both[1, 1] = 0.0, both[1, 1] * 1e-3
        both[2, 0, 3] = torch.nan
    want = _expected(before, both.view(count, 3, heads, setting.head_dim)[:, :2], case.step.slots)
    slots, both = context.put(case.step.slots), context.put(both)

    def run() -> tuple[Tensor, Tensor]:
        kv = QuantizedKV(context.put(before.levels.clone()), context.put(before.scales.clone()))
        context.ops.kv_write(kv, both[:, :heads], both[:, heads : 2 * heads], slots)
        return kv.from_bytes(kv.as_bytes, kv.scales), kv.scales

    context.verify(run, want, dtype=torch.float32)


def _expected(before: QuantizedKV, new: Tensor, slots: Tensor) -> tuple[Expected, Expected]:
    """The cache, and its scales, with keys and values ``new`` [T, 2, Hk, D] in their slots."""
    kind = before.levels.dtype
    values = before.levels.double() * before.scales.double().unsqueeze(-1)
    scales, bound = before.scales.double(), values.abs() * U32
    new = new.double().transpose(0, 1)
    new_scales = new.abs().amax(-1) / largest_level(kind)
    new = torch.where(new_scales.isnan().unsqueeze(-1), torch.nan, new)
    step = new_scales.unsqueeze(-1)
    half = (new.abs() * 2.0**-4).maximum(step * 2.0**-10) if kind.is_floating_point else step / 2
    half = half + 4 * U32 * new.abs()
    for whole, part in ((values, new), (bound, half), (scales, new_scales)):
        whole.flatten(1, 2)[:, slots] = part
    return Expected(values, bound), Expected(scales, 4 * U32 * scales)
