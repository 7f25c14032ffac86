"""A virtual accelerator: a real out-of-tree PyTorch device, without a chip.

``install()`` makes ``torch.device("virtual")`` work. Device memory is memory of its own that the
host cannot touch; ops run on the CPU. Nothing happens on import.
"""

from unisono_virtual.building import BuildError
from unisono_virtual.installing import install
from unisono_virtual.prediction import OpTotals, Prediction, op_totals, predict, reset
from unisono_virtual.settings import Settings, installed

__all__ = [
    "BuildError",
    "OpTotals",
    "Prediction",
    "Settings",
    "install",
    "installed",
    "op_totals",
    "predict",
    "reset",
]
