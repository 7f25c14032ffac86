"""Biren cards: two software generations that share the device string ``supa``.

BR1xx (106, 110, 166) come with the closed ``torch_br``, BR2xx with ``torch_supa``, which also
answers for ``torch.cuda``: so supa is asked before cuda. ``BRTB_ENABLE_NATIVE_OP=true``, set before
torch is imported, prefers plain torch kernels and helps to bisect a difference.
"""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace

import torch

from unisono.hardware.base import Hardware
from unisono.hardware.facts import Facts
from unisono.hardware.findings import Finding

_BR2XX = Facts(
    name="supa",
    device_type="supa",
    vendor="Biren",
    import_module="torch_supa",
    dtypes=("bfloat16", "float32"),
    distributed_backend="bccl",
    visible_devices_variable="SUPA_VISIBLE_DEVICES",
    tool="brsmi",
    device_nodes="/dev/biren/card_[0-9]*",
    detection_order=5,
    rests_on=(
        "torch-supa user guide v1.0.0, 2026-06-24 (github.com/BIRENSUPA/torch-supa)",
        "vllm-supa (visible devices)",
        "DeepSpeed #8054 (supa is asked before cuda)",
    ),
)
_BR1XX = replace(
    _BR2XX,
    import_module="torch_br",
    distributed_backend="sccl",
    rests_on=(
        "LMCache SUPA backend document (import, device string, no pinned host memory)",
        "SGLang fork for SUPA (collectives, memory calls, no graphs)",
    ),
)


def _installed(name: str) -> bool:
    return name in sys.modules or importlib.util.find_spec(name) is not None


class SupaHardware(Hardware):
    """Biren, whichever of the two packages is installed; the newer where both are."""

    facts = _BR1XX if _installed("torch_br") and not _installed("torch_supa") else _BR2XX

    @classmethod
    def diagnose(cls) -> tuple[Finding, ...]:
        if _installed("torch_supa") and torch.version.cuda is not None:
            return (
                Finding(
                    "problem",
                    cls.facts.name,
                    "torch_supa needs a torch that was built for the CPU alone, this one has CUDA",
                    "Install torch's CPU wheel of the version that the torch_supa wheel names.",
                ),
            )
        return ()
