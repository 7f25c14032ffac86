"""The op table of a model that is trained."""

from __future__ import annotations

from unisono.hardware.ops.portable import PortableOps

DIFFERENTIABLE = (
    *("linear", "embedding", "rms_norm", "add_rms_norm", "silu_mul", "rope", "rotary_heads"),
)
"""The ops whose gradients `unisono check` compares with float64 on every device."""


class TrainingOps(PortableOps):
    """The device's own ops where they are ``DIFFERENTIABLE``; all others portable, which are
    differentiable too. Weights stay as they are loaded, and nothing is fused."""

    stacks_experts = False

    def __init__(self, own: PortableOps) -> None:
        for name in DIFFERENTIABLE:
            setattr(self, name, getattr(own, name))
