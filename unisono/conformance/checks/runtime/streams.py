"""Streams and events: what waits, waits, and times are times."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from unisono.conformance.context import Context, NotApplicable, Refused
from unisono.conformance.expected.comparing import Mismatch
from unisono.conformance.registry import check
from unisono.conformance.reproductions import demos
from unisono.hardware.base import HostHardware


class Work:
    """Something that keeps the device busy for about ``seconds``, without asking it anything."""

    def __init__(self, context: Context, seconds: float) -> None:
        self.context = context
        self.a = torch.randn(512, 512).to(context.device)
        self.out = torch.empty_like(self.a)
        self.repeats = 1
        self.seconds = self._timed()
        while self.seconds < seconds and self.repeats < 100_000:
            self.repeats = max(2 * self.repeats, int(self.repeats * seconds / self.seconds))
            self.seconds = self._timed()

    def __call__(self) -> None:
        for _ in range(self.repeats):
            torch.mm(self.a, self.a, out=self.out)

    def _timed(self) -> float:
        self.context.hardware.synchronize()
        began = time.perf_counter()
        self()
        self.context.hardware.synchronize()
        return max(time.perf_counter() - began, 1e-6)


def _made(make: Callable[[], Any], what: str) -> Any:
    thing = make()
    if thing is None:
        raise Refused(f"no {what}")
    return thing


@check(
    "runtime.streams", "what waits for an event in another stream sees its results", optional=True
)
def streams(context: Context) -> None:
    if isinstance(context.hardware, HostHardware):
        raise NotApplicable("the host has no streams")
    context.demonstrate(demos.streams_wait)
    hardware = context.hardware
    ahead, behind = (_made(hardware.new_stream, "streams") for _ in range(2))
    work = Work(context, 0.03)
    for attempt in range(3):
        with context.case(f"a stream waits for another's event, {attempt + 1}"):
            buffer = torch.zeros(1 << 20, device=context.device)
            hardware.synchronize()
            with hardware.on_stream(ahead):
                work()
                buffer.fill_(attempt + 1.0)
                event = _made(hardware.new_event, "events")
                event.record(ahead)
            behind.wait_event(event)
            with hardware.on_stream(behind):
                seen = buffer.clone()
            behind.synchronize()
            _all_are(seen.cpu(), attempt + 1.0, "the stream that waited saw old data")
    with context.case("a copy from the host in one stream, read in another"):
        _copy_then_read(context, work, ahead, behind)
    with context.case("an event that has been waited for has happened"):
        event = _made(hardware.new_event, "events")
        with hardware.on_stream(ahead):
            work()
            event.record(ahead)
        event.synchronize()
        if not event.query():
            raise Mismatch("event.query() is false after event.synchronize()")
    with context.case("synchronize waits for every stream"):
        with hardware.on_stream(ahead):
            work()
            late = torch.full((1000,), 7.0, device=context.device)
            event = _made(hardware.new_event, "events")
            event.record(ahead)
        hardware.synchronize()
        if not event.query():
            raise Mismatch("an event is pending after the device was synchronised")
        _all_are(late.cpu(), 7.0, "results are missing after the device was synchronised")
    with context.case("wait_stream orders two streams"):
        _wait_stream(context, work, ahead, behind)


def _copy_then_read(context: Context, work: Work, ahead: Any, behind: Any) -> None:
    hardware = context.hardware
    source = torch.ones(1 << 22)
    with contextlib.suppress(RuntimeError, NotImplementedError):
        source = source.pin_memory()
    buffer = torch.zeros(1 << 22, device=context.device)
    hardware.synchronize()
    with hardware.on_stream(ahead):
        work()
        buffer.copy_(source, non_blocking=True)
        event = _made(hardware.new_event, "events")
        event.record(ahead)
    behind.wait_event(event)
    with hardware.on_stream(behind):
        seen = buffer.clone()
    behind.synchronize()
    _all_are(seen.cpu(), 1.0, "the stream that waited saw old data")


def _wait_stream(context: Context, work: Work, ahead: Any, behind: Any) -> None:
    hardware = context.hardware
    buffer = torch.zeros(1 << 20, device=context.device)
    hardware.synchronize()
    with hardware.on_stream(ahead):
        work()
        buffer.fill_(5.0)
    behind.wait_stream(ahead)
    with hardware.on_stream(behind):
        seen = buffer.clone()
    behind.synchronize()
    _all_are(seen.cpu(), 5.0, "the stream that waited saw old data")


def _all_are(got: Tensor, value: float, message: str) -> None:
    wrong = int((got != value).sum())
    if wrong:
        raise Mismatch(f"{message}: {wrong} of {got.numel()} entries")


@check("runtime.event_times", "elapsed_time is above 0 and agrees with the clock", optional=True)
def event_times(context: Context) -> None:
    if isinstance(context.hardware, HostHardware):
        raise NotApplicable("the host has no events")
    context.demonstrate(demos.time_passes)
    work = Work(context, 0.05)
    with context.case("the time of some work"):
        elapsed, wall = _timed(context, work, 1)
        if not elapsed > 0:
            raise Mismatch(f"elapsed_time is {elapsed} ms for work of {wall:.1f} ms")
        if context.hardware.predicted_seconds() is None and not wall / 5 < elapsed < wall * 1.2 + 5:
            raise Mismatch(f"elapsed_time is {elapsed:.3f} ms, the clock says {wall:.3f} ms")
    with context.case("more work takes more time"):
        once, _ = _timed(context, work, 1)
        thrice, _ = _timed(context, work, 4)
        if not thrice > 1.5 * once > 0:
            raise Mismatch(f"once takes {once:.3f} ms, and four times {thrice:.3f} ms")


def _timed(context: Context, work: Work, times: int) -> tuple[float, float]:
    """Milliseconds by events and by the clock."""
    hardware = context.hardware
    start, end = (_made(lambda: hardware.new_event(timing=True), "events") for _ in range(2))
    hardware.synchronize()
    began = time.perf_counter()
    start.record()
    for _ in range(times):
        work()
    end.record()
    end.synchronize()
    wall = (time.perf_counter() - began) * 1000
    return float(start.elapsed_time(end)), wall
