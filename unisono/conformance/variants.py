"""Other forms of a device's kernels, such as those for an older instruction set: what is checked of
them, and which one a process was told to use.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unisono.hardware.base import Hardware

_GROUPS = ("ops", "model")
"""Groups that compute. Memory, streams and processes are the same whatever the kernels."""


def variant_checks(only: tuple[str, ...]) -> tuple[str, ...]:
    """The groups and checks to be repeated, of those that were asked for."""
    return tuple(name for name in only or _GROUPS if name.partition(".")[0] in _GROUPS)


def untold_variants(hardware: type[Hardware]) -> list[tuple[str, str]]:
    """(variable, variant) of each other form; none where the environment says which to use."""
    variable = hardware.variant_variable
    if variable is None or variable in os.environ:
        return []
    return [(variable, name) for name in hardware.variants()]


def chosen_variant(hardware: type[Hardware]) -> dict[str, str]:
    """The part of this process's environment that chose the kernels."""
    variable = hardware.variant_variable
    return (
        {} if variable is None or variable not in os.environ else {variable: os.environ[variable]}
    )
