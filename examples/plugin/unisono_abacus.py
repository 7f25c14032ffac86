"""Hardware of a third party: an "abacus" that computes on the host and has two ops of its own.

What a real one changes: ``import_module`` and ``device_type`` name its PyTorch plugin, the base
class is ``Hardware`` (the host needs no driver, so this one takes ``HostHardware``), and the ops
call its kernels.
"""

from __future__ import annotations

import os

import torch
from torch import Tensor

from unisono.hardware import Facts, HostHardware, MemoryInfo, PortableOps


class AbacusOps(PortableOps):
    """The portable ops, but for two. Whatever an op does, its result must stay within the bound
    that `unisono check` derives for the reference."""

    def rms_norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        """torch's own kernel, whatever the dtype of the weight."""
        return torch.nn.functional.rms_norm(x, (x.shape[-1],), weight, eps)

    def silu_mul(self, gate_up: Tensor) -> Tensor:
        """In place on a copy: no second buffer for the product."""
        gate, up = gate_up.chunk(2, dim=-1)
        if torch.is_grad_enabled():
            return super().silu_mul(gate_up)
        return torch.nn.functional.silu(gate).mul_(up)


class AbacusHardware(HostHardware):
    """One device, the host's memory."""

    facts = Facts(
        name="abacus",
        device_type="cpu",
        vendor="example",
        dtypes=("bfloat16", "float32"),
        distributed_backend="gloo",
        op_table=4,
        detection_order=1500,  # behind the host itself: it is used when it is asked for
        rests_on=("this example",),
    )
    ops_class = AbacusOps

    @classmethod
    def describe(cls, index: int) -> str:
        return "an abacus in a third party's package"

    def memory(self) -> MemoryInfo:
        page = os.sysconf("SC_PAGE_SIZE")
        return MemoryInfo(
            free=page * os.sysconf("SC_AVPHYS_PAGES"), total=page * os.sysconf("SC_PHYS_PAGES")
        )
