"""Ops that do not come back, or come back with an error."""

from __future__ import annotations

import time
from typing import Any

from unisono_virtual.faults.overriding import around
from unisono_virtual.faults.registry import fault


@fault
def hang() -> None:
    """An op (topk) never returns: the kernel waits for itself."""

    @around("topk.values")
    def wait(op: Any, *arguments: Any, **options: Any) -> Any:
        while True:
            time.sleep(1)


@fault
def op_raises() -> None:
    """An op (cumsum) that is listed as supported is not."""

    @around("cumsum.out")
    def fail(op: Any, *arguments: Any, **options: Any) -> Any:
        raise RuntimeError("cumsum: operator not implemented for this product")
