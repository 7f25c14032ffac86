"""Checks that every op of the table has a check: a new op without one is a fault of the kit."""

from __future__ import annotations

from unisono.conformance.context import Context
from unisono.conformance.expected.comparing import Mismatch
from unisono.conformance.overriding import overridden_ops, strangers, table_ops
from unisono.conformance.registry import check, covered_ops


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
    with context.case("each method is an op"):
        others = strangers(context.hardware.ops)
        if others:
            raise Mismatch("; ".join(_stranger(*one) for one in others.items()))
    context.remark = (
        f"overrides {', '.join(overridden_ops(context.hardware.ops)) or 'none: all portable'}"
    )


def _stranger(name: str, nearest: str) -> str:
    meant = f": is {nearest} meant?" if nearest else "; an underscore before it says that it is own"
    return f"{name} is no op of the table, and nothing calls it{meant}"
