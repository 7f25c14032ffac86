"""Finds the ops of the table that a hardware brings itself, and its methods that are none."""

from __future__ import annotations

import inspect
from difflib import get_close_matches
from typing import Any

from unisono.hardware.ops.portable import PortableOps


def table_ops() -> set[str]:
    """Public methods of the op table."""
    members = inspect.getmembers(PortableOps, inspect.isfunction)
    return {name for name, _ in members if not name.startswith("_")}


def overridden_ops(ops: Any) -> list[str]:
    """Ops for which the hardware has something of its own."""
    return sorted(
        name
        for name in table_ops()
        if getattr(type(ops), name, None) is not getattr(PortableOps, name)
    )


def strangers(ops: Any) -> dict[str, str]:
    """Public methods that are no op of the table -> the op with the nearest name, or nothing.

    Nobody calls them: most are ops whose names are misspelt.
    """
    table = table_ops()
    members = inspect.getmembers(type(ops), inspect.isroutine)
    names = [name for name, _ in members if not name.startswith("_") and name not in table]
    return {name: next(iter(get_close_matches(name, sorted(table), 1)), "") for name in names}
