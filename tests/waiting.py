"""Time in tests: they wait for what happens, however long a loaded machine takes over it, and what
they limit is computing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PATIENCE_S = 600.0
"""Longer than anything takes that still works: what comes later does not come."""


def until(condition: Callable[[], object]) -> None:
    """Returns as soon as ``condition`` holds."""
    give_up_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up_s, "it did not come"
        time.sleep(0.02)


async def becomes(condition: Callable[[], object]) -> None:
    """``until``, while the event loop goes on."""
    give_up_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up_s, "it did not come"
        await asyncio.sleep(0.01)


@contextmanager
def computing_at_most(seconds: float) -> Iterator[None]:
    """This process computes no longer, however long it waits for a processor."""
    began_s = time.process_time()
    yield
    assert time.process_time() - began_s <= seconds
