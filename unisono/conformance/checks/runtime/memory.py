"""Checks what the device says about its memory, and what it does when none is left."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from unisono.conformance.context import Context, NotApplicable, Refused, first_line
from unisono.conformance.expected.comparing import Mismatch
from unisono.conformance.registry import check
from unisono.conformance.reproductions import demos
from unisono.hardware.base import HostHardware

_ROUNDING = 4 << 20
"""Allocators hand out pieces of up to 2 MiB, and keep some."""


def _device_only(context: Context) -> None:
    if isinstance(context.hardware, HostHardware):
        raise NotApplicable("the host's memory is not counted by torch")


def _allocated(context: Context) -> int:
    context.hardware.synchronize()
    allocated = context.hardware.memory_use().allocated
    if allocated is None:
        raise Refused("this build of torch does not count the device's memory")
    return allocated


@check(
    "runtime.memory",
    "allocated, peak and free memory follow what is taken and given back",
    optional=True,
)
def accounting(context: Context) -> None:
    _device_only(context)
    context.demonstrate(demos.memory_is_counted)
    hardware, size = context.hardware, 48 << 20
    for attempt in ("at first", "again"):
        with context.case(f"allocated memory rises and falls, {attempt}"):
            before = _allocated(context)
            block = torch.zeros(size, dtype=torch.uint8, device=context.device)
            risen = _allocated(context) - before
            del block
            gc.collect()
            left = _allocated(context) - before
            if not size <= risen <= size + _ROUNDING:
                raise Mismatch(f"{size} bytes were taken and {risen} are counted")
            if left != 0:
                raise Mismatch(f"{left} bytes are still counted after {size} were given back")
    with context.case("the peak is remembered, and starts again"):
        hardware.reset_peak_memory()
        start = _allocated(context)
        block = torch.zeros(size, dtype=torch.uint8, device=context.device)
        del block
        use = hardware.memory_use()
        if use.peak_allocated is None:
            raise Refused("this build of torch does not count the peak")
        if use.peak_allocated < start + size:
            raise Mismatch(f"the peak is {use.peak_allocated} after {start + size} were in use")
        hardware.reset_peak_memory()
        again = hardware.memory_use().peak_allocated or 0
        if again >= start + size:
            raise Mismatch("the peak does not start again")
    with context.case("free memory falls"):
        _free_falls(context)


def _free_falls(context: Context) -> None:
    hardware = context.hardware
    hardware.release_cached()
    before = hardware.memory()
    size = min(256 << 20, before.free // 4)
    block = torch.zeros(size, dtype=torch.uint8, device=context.device)
    hardware.synchronize()
    during = hardware.memory()
    del block
    hardware.release_cached()
    after = hardware.memory()
    if during.total != before.total:
        raise Mismatch(f"the total changed from {before.total} to {during.total}")
    taken = before.free - during.free
    if not size // 2 <= taken:
        raise Mismatch(f"{size} bytes were taken, and free memory fell by {taken}")
    if before.free - after.free > size // 2:
        raise Mismatch(f"of {size} bytes given back, {before.free - after.free} are still missing")


@check("runtime.leaks", "thousands of short-lived results leave nothing behind", optional=True)
def leaks(context: Context) -> None:
    _device_only(context)
    context.demonstrate(demos.nothing_leaks)
    x = torch.randn(64, 64).to(context.device)
    work: dict[str, Callable[[], Any]] = {
        "sums": lambda: x + x,
        "products": lambda: x @ x,
        "views and copies": lambda: x.T.contiguous().view(-1),
        "copies to the host": lambda: x.cpu(),
        "copies to the device": lambda: torch.ones(100).to(context.device),
        "reductions": lambda: x.softmax(-1).sum(),
        "sorting": lambda: x.sort(),
        "gradients": lambda: _gradient(x),
    }
    for words, once in work.items():
        with context.case(words):
            once()
            gc.collect()
            before = _allocated(context)
            for _ in range(300):
                once()
            gc.collect()
            left = _allocated(context) - before
            if left > 0:
                raise Mismatch(f"300 times: {left} bytes are not given back")


def _gradient(x: Tensor) -> None:
    y = x.detach().requires_grad_()
    (y * y).sum().backward()  # type: ignore[no-untyped-call]


@check("runtime.out_of_memory", "too much is refused as torch does, and the device works on")
def out_of_memory(context: Context) -> None:
    _device_only(context)
    context.demonstrate(demos.memory_runs_out)
    total = context.hardware.memory().total
    for words, size in (("more than there is", total + (1 << 30)), ("far more", 64 * total)):
        with context.case(words):
            before = context.hardware.memory_use().allocated
            _refused(context, size)
            _works_on(context)
            after = context.hardware.memory_use().allocated
            if before is not None and after is not None and after > before:
                raise Mismatch(f"a refused request leaves {after - before} bytes counted")
    with context.case("until it is full"):
        _fill(context)
        _works_on(context)


def _refused(context: Context, size: int) -> None:
    try:
        block = torch.empty(size, dtype=torch.uint8, device=context.device)
    except torch.OutOfMemoryError:
        return
    except Exception as error:
        raise Mismatch(
            f"raises {type(error).__name__} ({first_line(error)}) instead of torch.OutOfMemoryError"
        ) from error
    raise Mismatch(f"hands out {block.nbytes} bytes, and has {context.hardware.memory().total}")


def _fill(context: Context) -> None:
    """Take an eighth of what is free until it is gone, and all of it again afterwards."""
    context.hardware.release_cached()
    piece = max(context.hardware.memory().free // 8, 1 << 20)
    for attempt in ("", " the second time"):
        held = []
        try:
            for _ in range(16):
                held.append(torch.empty(piece, dtype=torch.uint8, device=context.device))
        except torch.OutOfMemoryError:
            if len(held) < 4:
                raise Mismatch(f"is full after {len(held)} eighths{attempt}") from None
        except Exception as error:
            raise Mismatch(
                f"raises {type(error).__name__} ({first_line(error)}) when it is full{attempt}"
            ) from error
        else:
            raise Mismatch(f"hands out twice its free memory{attempt}")
        finally:
            held.clear()
            gc.collect()
            context.hardware.release_cached()


def _works_on(context: Context) -> None:
    try:
        total = torch.arange(1000, device=context.device).sum().item()
    except Exception as error:
        raise Mismatch(
            f"does not work any more ({type(error).__name__}: {first_line(error)})"
        ) from error
    if total != 499_500:
        raise Mismatch("computes wrongly after running out of memory")
