"""Let the hardware take over whole modules, the coarsest first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from unisono.hardware.ops.portable import PortableOps
from unisono.hardware.ops.standard import Standard
from unisono.models.adapters.layer_adapters import AdapterRows
from unisono.models.decoder import Decoder
from unisono.models.layers.described import standard_of
from unisono.models.layers.split import gives_term


def fuse(
    module: nn.Module, ops: PortableOps, adapters: AdapterRows, *, divided: bool = False
) -> None:
    """Offer ``module`` and, where it is not taken, its parts to ``ops.fuse``.

    Offered is what has a record. Modules of a ``divided`` model that contain sums over ranks are
    not: no single device can form these. Where ``ops`` do not fuse adapters, a step with
    any is computed by the parts, which know them.
    """
    divided = divided and not gives_term(module)
    if not divided:
        record = module.standard() if isinstance(module, Decoder) else standard_of(module)
        replacement = ops.fuse(record, module.forward) if isinstance(record, Standard) else None
        if replacement is not None:
            if not ops.fuses_adapters:
                replacement = _either(replacement, module.forward, adapters)
                adapters.has_fused = True
            module.forward = replacement
            return
    for child in module.children():
        fuse(child, ops, adapters, divided=divided)


def _either(
    fused: Callable[..., Any], plain: Callable[..., Any], adapters: AdapterRows
) -> Callable[..., Any]:
    def forward(*args: Any) -> Any:
        return plain(*args) if adapters.active else fused(*args)

    return forward
