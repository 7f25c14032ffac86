"""Programs for what the kit checks through the hardware's own methods: the same, in torch alone.

Never run by the kit; a failure carries the source of one of these.
"""

from __future__ import annotations

import time
from typing import Any

import torch

from unisono.conformance.reproductions.scripts import expect


def memory_is_counted(device: torch.device) -> None:
    """Allocated memory follows what is taken and given back."""
    module: Any = torch.get_device_module(device.type)
    free, total = module.mem_get_info() if hasattr(module, "mem_get_info") else (1, 1)
    expect(0 <= free <= total and total > 0, f"{free} bytes free of {total}")
    for _ in range(2):
        before = module.memory_allocated()
        block = torch.zeros(48 << 20, dtype=torch.uint8, device=device)
        risen = module.memory_allocated() - before
        del block
        left = module.memory_allocated() - before
        expect(48 << 20 <= risen <= 52 << 20, f"{48 << 20} bytes taken, {risen} counted")
        expect(left == 0, f"{left} bytes still counted after {48 << 20} were given back")
    module.reset_peak_memory_stats()
    block = torch.zeros(48 << 20, dtype=torch.uint8, device=device)
    del block
    expect(module.max_memory_allocated() >= 48 << 20, "the peak is not remembered")
    module.reset_peak_memory_stats()
    expect(module.max_memory_allocated() < before + (48 << 20), "the peak does not start again")


def nothing_leaks(device: torch.device) -> None:
    """Short-lived results leave nothing behind."""
    module: Any = torch.get_device_module(device.type)
    x = torch.randn(64, 64).to(device)
    before = module.memory_allocated()
    for _ in range(300):
        _ = x + x
        _ = x @ x
        _ = x.cpu()
        del _
    left = module.memory_allocated() - before
    expect(left == 0, f"{left} bytes are not given back after 900 results")


def memory_runs_out(device: torch.device) -> None:
    """Too much raises torch.OutOfMemoryError, and the device works on."""
    for size in (1 << 50, 1 << 46):
        try:
            torch.empty(size, dtype=torch.uint8, device=device)
        except torch.OutOfMemoryError:
            pass
        except Exception as error:
            expect(False, f"{type(error).__name__} instead of torch.OutOfMemoryError: {error}")
        else:
            expect(False, f"hands out {size} bytes")
    try:
        total = torch.arange(1000, device=device).sum().item()
    except Exception as error:
        expect(False, f"does not work any more: {error}")
    expect(total == 499_500, "computes wrongly after running out of memory")


def streams_wait(device: torch.device) -> None:
    """A stream that waits for an event of another sees what was done before it."""
    module: Any = torch.get_device_module(device.type)
    ahead, behind = torch.Stream(device), torch.Stream(device)
    source = torch.ones(1 << 22).pin_memory()
    x = torch.randn(512, 512).to(device)
    for kind in ("computed", "copied"):
        buffer = torch.zeros(1 << 22, device=device)
        module.synchronize()
        with module.stream(ahead):
            for _ in range(50):
                x = torch.tanh(x @ x)
            if kind == "computed":
                buffer.fill_(1.0)
            else:
                buffer.copy_(source, non_blocking=True)
            event = torch.Event(device)
            event.record(ahead)
        behind.wait_event(event)
        with module.stream(behind):
            seen = buffer.clone()
        behind.synchronize()
        wrong = int((seen.cpu() != 1).sum())
        expect(wrong == 0, f"{kind}: the stream that waited saw {wrong} old entries")


def time_passes(device: torch.device) -> None:
    """elapsed_time is above 0."""
    start, end = (torch.Event(device, enable_timing=True) for _ in range(2))
    x = torch.randn(512, 512).to(device)
    torch.get_device_module(device.type).synchronize()
    began = time.perf_counter()
    start.record()
    for _ in range(50):
        x = torch.tanh(x @ x)
    end.record()
    end.synchronize()
    wall = (time.perf_counter() - began) * 1000
    elapsed = start.elapsed_time(end)
    expect(elapsed > 0, f"elapsed_time is {elapsed} ms, the clock says {wall:.1f} ms")


def waited_copies_are_there(device: torch.device) -> None:
    """Non-blocking copies are complete once they are waited for."""
    module: Any = torch.get_device_module(device.type)
    event = torch.Event(device)

    def by_event() -> None:
        event.record()
        event.synchronize()

    waits: dict[str, Any] = {
        "device": module.synchronize,
        "stream": lambda: torch.accelerator.current_stream().synchronize(),
        "event": by_event,
    }
    for name, wait in waits.items():
        for size in (1, 4097, 4 << 20):
            wanted = torch.arange(size).float() + 1
            source, back = wanted.clone().pin_memory(), torch.zeros(size).pin_memory()
            there = torch.zeros(size, device=device)
            module.synchronize()
            there.copy_(source, non_blocking=True)
            wait()
            source.zero_()
            kept = there.clone()
            wait()
            back.copy_(kept, non_blocking=True)
            wait()
            missing = int((back.clone() != wanted).sum())
            expect(missing == 0, f"{name} synchronised: {missing} of {size} entries are missing")


def results_do_not_drift(device: torch.device) -> None:
    """The same product, thousands of times."""
    x = torch.randn(33, 33).to(device)
    first = (x @ x).cpu()
    for i in range(20_000):
        again = x @ x
        if i % 50 == 0:
            near = torch.allclose(again.cpu(), first, rtol=1e-5, atol=1e-4)
            expect(near, f"the product has changed after {i} times")
