"""Measured figures. Nothing is judged; an imitated chip's predicted figures stand beside them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from unisono.conformance.context import Context, is_refusal
from unisono.conformance.registry import check
from unisono.conformance.results import Figure
from unisono.hardware.base import HostHardware


def _time(context: Context, work: Callable[[], object], least: float) -> tuple[float, float | None]:
    """Best seconds of one call, on the clock and as predicted, over at least ``least`` seconds."""
    hardware = context.hardware
    work()
    hardware.synchronize()
    best, spent = float("inf"), 0.0
    predicted = hardware.predicted_seconds()
    calls = 0
    while spent < least or calls < 3:
        began = time.perf_counter()
        work()
        hardware.synchronize()
        seconds = time.perf_counter() - began
        best, spent, calls = min(best, seconds), spent + seconds, calls + 1
    if predicted is None:
        return best, None
    after = hardware.predicted_seconds() or predicted
    return best, max(after - predicted, 0.0) / calls


def _rate(
    context: Context,
    name: str,
    amount: float,
    unit: str,
    work: Callable[..., object],
    given: Sequence[Any] = (),
) -> None:
    """Note ``amount`` of the unit for each call of ``work`` as a rate."""
    best, predicted = _time(context, lambda: work(*given), 0.15 if context.quick else 1.0)
    context.figures.append(Figure(name=name, value=amount / best, unit=unit))
    if predicted:
        context.figures.append(
            Figure(name=name, value=amount / predicted, unit=unit, predicted=True)
        )


def _block(context: Context) -> Tensor:
    size = 64 << 20 if context.quick else 512 << 20
    size = min(size, context.hardware.memory().free // 8)
    return torch.ones(size // 4, device=context.device)


@check("measure.memory", "bandwidth of the device's memory")
def memory(context: Context) -> None:
    x = _block(context)
    y = torch.empty_like(x)
    _rate(context, "memory copy", 2 * x.nbytes / 1e9, "GB/s", lambda: y.copy_(x))
    _rate(context, "memory read", x.nbytes / 1e9, "GB/s", x.sum)
    _rate(context, "memory write", x.nbytes / 1e9, "GB/s", lambda: y.fill_(1.0))


@check("measure.matmul", "rate of matrix products in each dtype")
def matmul(context: Context) -> None:
    limit = 0.02 if context.quick else 0.2
    for dtype in context.dtypes:
        side = _side(context, dtype, limit)
        a = torch.ones(side, side, device=context.device, dtype=dtype)
        name = f"{str(dtype).removeprefix('torch.')} product of side {side}"
        _rate(context, name, 2 * side**3 / 1e12, "TFLOP/s", lambda a: a @ a, given=(a,))


def _side(context: Context, dtype: torch.dtype, limit: float) -> int:
    """The largest power of 2, up to 8192, whose product should take no longer than the limit."""
    side = 256
    a = torch.ones(side, side, device=context.device, dtype=dtype)
    seconds, _ = _time(context, lambda: a @ a, 0.02)
    while side < 8192 and seconds * 8 < limit:
        side, seconds = 2 * side, seconds * 8
    return side


@check("measure.copies", "rates between host and device, and back")
def copies(context: Context) -> None:
    device_side = _block(context)
    host = torch.ones(device_side.shape)
    amount = host.nbytes / 1e9
    kinds = {"": host}
    if not isinstance(context.hardware, HostHardware):
        try:
            kinds["pinned "] = host.pin_memory()
        except Exception as error:
            if not is_refusal(error):
                raise
    for words, memory_of_host in kinds.items():
        _rate(
            context,
            f"{words}host to device",
            amount,
            "GB/s",
            lambda m: device_side.copy_(m, non_blocking=True),
            given=(memory_of_host,),
        )
        _rate(
            context,
            f"device to {words}host",
            amount,
            "GB/s",
            lambda m: m.copy_(device_side, non_blocking=True),
            given=(memory_of_host,),
        )


@check("measure.launches", "time of an op that has almost nothing to do")
def launches(context: Context) -> None:
    x = torch.ones(16, device=context.device)
    count = 1000

    def many() -> None:
        for _ in range(count):
            x.add_(1.0)

    best, predicted = _time(context, many, 0.1)
    context.figures.append(Figure(name="small op", value=best / count * 1e6, unit="us"))
    if predicted:
        figure = Figure(name="small op", value=predicted / count * 1e6, unit="us", predicted=True)
        context.figures.append(figure)
    best, _ = _time(context, lambda: x.sum().item(), 0.05)
    context.figures.append(Figure(name="small op and its answer", value=best * 1e6, unit="us"))
