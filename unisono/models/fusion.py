"""Let the hardware take over whole modules, the coarsest first."""

from __future__ import annotations

from torch import nn

from unisono.hardware.ops.portable import PortableOps
from unisono.models.layers.split import gives_term

__all__ = ["fuse"]


def fuse(module: nn.Module, ops: PortableOps, *, divided: bool = False) -> None:
    """Offer ``module`` and, where it is not taken, its parts to ``ops.fuse``.

    Modules that may be taken carry a ``fusion_kind``. Those of a ``divided`` model that contain
    sums over ranks are not offered: no single device can form these.
    """
    divided = divided and not gives_term(module)
    kind = None if divided else getattr(module, "fusion_kind", None)
    replacement = None if kind is None else ops.fuse(kind, module)
    if replacement is not None:
        module.forward = replacement
        return
    for child in module.children():
        fuse(child, ops, divided=divided)
