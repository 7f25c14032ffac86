"""Copies between host and device: of every size and layout, and the asynchronous ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from unisono.conformance.context import Context, NotApplicable, Refused, is_refusal
from unisono.conformance.expected.comparing import Mismatch
from unisono.conformance.registry import check
from unisono.conformance.reproductions import demos
from unisono.conformance.reproductions.scripts import expect
from unisono.hardware.base import HostHardware


def sizes_and_dtypes(device: torch.device) -> None:
    """There and back, of every size and dtype, the same bytes."""
    names = "uint8 int8 int16 int32 int64 bool float16 bfloat16 float32"
    for name in names.split():
        for size in (0, 1, 2, 3, 7, 31, 63, 65, 255, 1023, 4097, 65_537):
            x = (torch.arange(size) % 120).to(getattr(torch, name))
            y = x.to(device)
            expect(y.shape == x.shape and y.dtype == x.dtype, f"{name}, {size}: another form")
            expect(torch.equal(y.cpu(), x), f"{name}, {size} entries: not the same bytes")
            expect(torch.equal(y.clone().cpu(), x), f"{name}, {size} entries: a clone differs")


def every_bit(device: torch.device) -> None:
    """Bit patterns that are no ordinary numbers survive."""
    patterns = torch.arange(-(1 << 15), 1 << 15).to(torch.int16)
    for dtype in (torch.float16, torch.bfloat16):
        back = patterns.view(dtype).to(device).cpu().view(torch.int16)
        expect(torch.equal(back, patterns), f"{dtype}: bits change on the way")
    wide = (torch.arange(100_000) * 42_949 - (1 << 31)).to(torch.int32)
    back = wide.view(torch.float32).to(device).cpu().view(torch.int32)
    expect(torch.equal(back, wide), "float32: bits change on the way")
    long = torch.tensor([2**63 - 1, -(2**63), 2**32, -(2**32) - 1, 2**53 + 1])
    expect(torch.equal(long.to(device).cpu(), long), "int64: bits change on the way")


def strided_copies(device: torch.device) -> None:
    """From and to views, in both directions and within the device."""
    x = torch.arange(35 * 67).float().view(35, 67)
    views: dict[str, Callable[[Any], Any]] = {
        "transposed": lambda t: t.T,
        "every other column": lambda t: t[:, ::2],
        "an offset": lambda t: t[3:, 5:],
        "one column": lambda t: t[:, 7],
        "expanded": lambda t: t[:, :1].expand(-1, 4),
    }
    for name, view in views.items():
        there = view(x).to(device)
        expect(torch.equal(there.cpu(), view(x)), f"{name}, to the device")
        expect(torch.equal(view(x.to(device)).cpu(), view(x)), f"{name}, to the host")
        if name == "expanded":
            continue
        for source, target in (("cpu", device), (device, "cpu"), (device, device)):
            filled = torch.zeros(35, 67, device=target)
            view(filled).copy_(view(x.to(source)) + 1)
            want = torch.zeros(35, 67)
            view(want).copy_(view(x) + 1)
            expect(torch.equal(filled.cpu(), want), f"{name}, copy_ from {source} to {target}")


def converting_copies(device: torch.device) -> None:
    """copy_ and to change the dtype on the way."""
    x = torch.arange(-50, 50).float()
    for dtype in (torch.int64, torch.int32, torch.float16, torch.bfloat16, torch.bool):
        want = x.to(dtype)
        expect(torch.equal(x.to(device).to(dtype).cpu(), want), f"to({dtype}) on the device")
        expect(torch.equal(x.to(device, dtype).cpu(), want), f"to(device, {dtype})")
        filled = torch.empty(100, dtype=dtype, device=device)
        expect(torch.equal(filled.copy_(x).cpu(), want), f"copy_ into {dtype} from the host")
    expect(x.to(device).item is not None and x[60].to(device).item() == 10.0, "item()")
    expect(x.to(device).tolist() == x.tolist(), "tolist()")
    expect(bool((x.to(device)[x.to(device) > 40] == x[x > 40].to(device)).all()), "boolean index")


@check("runtime.copies", "copies of every size, dtype and layout bring the same bytes")
def copies(context: Context) -> None:
    some = not context.has_all_floats
    context.probe("every size and dtype", sizes_and_dtypes, optional=some)
    context.probe("every bit pattern", every_bit, optional=some)
    context.probe("views", strided_copies)
    context.probe("other dtypes", converting_copies, optional=some)


_WHOLE_DEVICE = "device synchronised"
"""The one way to wait that every device has."""


def pinned_memory(device: torch.device) -> None:
    """Pinned memory is pinned, ordinary memory is not, and both hold the same."""
    plain = torch.arange(100_003).float()
    expect(not plain.is_pinned(), "ordinary memory says that it is pinned")
    pinned = plain.pin_memory()
    expect(pinned.is_pinned(), "memory does not say that it is pinned after pin_memory()")
    expect(pinned.data_ptr() != plain.data_ptr(), "pin_memory() gives the same memory back")
    expect(torch.equal(pinned, plain), "pin_memory() changes the data")
    expect(torch.equal(pinned.to(device).cpu(), plain), "a copy from pinned memory differs")
    expect(not plain.is_pinned(), "ordinary memory says that it is pinned after pin_memory()")
    empty = torch.empty(4097, pin_memory=True)
    expect(empty.is_pinned(), "torch.empty(pin_memory=True) is not pinned")


@check("runtime.pinned", "pinned memory is what it says", optional=True)
def pinned(context: Context) -> None:
    if isinstance(context.hardware, HostHardware):
        raise NotApplicable("nothing is copied")
    if "pinned_memory" not in context.hardware.facts.features:
        with context.case("pinned memory is there", optional=True):
            if not torch.zeros(4096).pin_memory().is_pinned():
                raise Refused("pin_memory() gives ordinary memory")
            context.probe("pinned memory", pinned_memory, optional=True)
        return
    context.probe("pinned memory", pinned_memory)


@check("runtime.async_copies", "non-blocking copies are complete once they are waited for")
def async_copies(context: Context) -> None:
    if isinstance(context.hardware, HostHardware):
        raise NotApplicable("nothing is copied")
    context.demonstrate(demos.waited_copies_are_there)
    for waiting, wait in _waits(context).items():
        for pinned in (True, False):
            for size in (1, 4097, 4 << 20):
                memory = "pinned" if pinned else "ordinary"
                label = f"{size} floats, {memory} memory, {waiting}"
                with context.case(label, optional=waiting != _WHOLE_DEVICE):
                    _there_and_back(context, size, pinned, wait)


def _waits(context: Context) -> dict[str, Callable[[], None]]:
    """Ways to wait for all that was asked for."""
    hardware = context.hardware

    def by_event() -> None:
        event = hardware.new_event()
        if event is None:
            raise Refused("no events")
        event.record()
        event.synchronize()

    def by_stream() -> None:
        module = torch.get_device_module(context.device.type)
        current = getattr(module, "current_stream", None)
        stream = torch.accelerator.current_stream() if current is None else current()
        stream.synchronize()

    return {
        _WHOLE_DEVICE: hardware.synchronize,
        "stream synchronised": by_stream,
        "event synchronised": by_event,
    }


def _there_and_back(context: Context, size: int, pinned: bool, wait: Callable[[], None]) -> None:
    source = torch.arange(size).float() + 1
    there = torch.zeros(size, device=context.device)
    back = torch.zeros(size)
    if pinned:
        source, back = _pin(source), _pin(back)
    context.hardware.synchronize()
    there.copy_(source, non_blocking=True)
    wait()
    source.zero_()  # once waited for, the source may change
    wanted = torch.arange(size).float() + 1
    on_device = there.clone()
    wait()
    back.copy_(on_device, non_blocking=True)
    wait()
    got = back.clone()
    if not torch.equal(got, wanted):
        again = on_device.cpu()
        which = "to the host" if torch.equal(again, wanted) else "to the device"
        raise Mismatch(
            f"the copy {which} was not complete: {int((got != wanted).sum())} entries are missing"
        )


def _pin(tensor: torch.Tensor) -> torch.Tensor:
    try:
        return tensor.pin_memory()
    except Exception as error:
        if is_refusal(error):
            raise Refused(str(error)) from error
        raise
