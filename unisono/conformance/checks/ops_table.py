"""Whether every op of the table has a check: a new op without one is a fault of the kit."""

from __future__ import annotations

import inspect

from unisono.conformance.comparing import Mismatch
from unisono.conformance.context import Context
from unisono.conformance.registry import check, covered_ops
from unisono.hardware import PortableOps

__all__ = ["table", "table_ops"]


def table_ops() -> set[str]:
    """Public methods of the op table."""
    members = inspect.getmembers(PortableOps, inspect.isfunction)
    return {name for name, _ in members if not name.startswith("_")}


@check("ops.table", "every op of the table has a check, and the device has every op")
def table(context: Context) -> None:
    with context.case("each op has a check"):
        missing = table_ops() - covered_ops()
        if missing:
            raise Mismatch(f"the kit has no check for {', '.join(sorted(missing))}")
    with context.case("the device has each op"):
        absent = [name for name in table_ops() if not callable(getattr(context.ops, name, None))]
        if absent:
            raise Mismatch(f"the op table of the device lacks {', '.join(sorted(absent))}")
