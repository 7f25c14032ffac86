"""Published figures of chips: each with its source, its grade, and what contradicts it.

Pure data. A prediction may start from it; a measurement on the card always goes before it.
"""

from unisono.hardware.specs.figures import (
    GRADES,
    QUANTITIES,
    ChipSpec,
    Evidence,
    Figure,
    Grade,
    Quantity,
)
from unisono.hardware.specs.ledger import find_spec, load_specs

__all__ = [
    "ChipSpec",
    "Evidence",
    "Figure",
    "GRADES",
    "Grade",
    "QUANTITIES",
    "Quantity",
    "find_spec",
    "load_specs",
]
