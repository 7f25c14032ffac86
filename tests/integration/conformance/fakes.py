"""Hardware that is bad in one way each, over the host's own processor."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import torch
from torch import Tensor

from unisono.core.errors import HardwareError
from unisono.hardware import OP_TABLE_VERSION, Facts, HostHardware, MemoryInfo, PortableOps

print("a plugin may print what it likes", flush=True)


class Good(HostHardware):
    facts = Facts(
        name="good",
        device_type="cpu",
        dtypes=("float32",),
        distributed_backend="gloo",
        op_table=OP_TABLE_VERSION,
    )

    def memory(self) -> MemoryInfo:
        return MemoryInfo(4 << 30, 8 << 30)


class CountsTwo(Good):
    """Says two; the second cannot be opened."""

    def __init__(self, index: int = 0) -> None:
        if index:
            raise RuntimeError("there is no second device")
        super().__init__(index)

    @classmethod
    def count(cls) -> int:
        return 2


class NoBytes(Good):
    def memory(self) -> MemoryInfo:
        return MemoryInfo(0, 0)


class SaysNothing(Good):
    """A build that lacks half of what there is to ask: ``runtime.memory_info`` ends so there."""

    def memory(self) -> MemoryInfo:
        raise HardwareError("good:0 does not say how much memory it has.")

    def seed(self, number: int) -> None:
        raise NotImplementedError("this build has no generator")


class OpRaises(Good):
    class ops_class(PortableOps):
        def silu_mul(self, gate_up: Tensor) -> Tensor:
            raise RuntimeError("kernel failed")


class WrongShape(Good):
    class ops_class(PortableOps):
        def silu_mul(self, gate_up: Tensor) -> Tensor:
            return super().silu_mul(gate_up).unsqueeze(0)


class WrongDtype(Good):
    class ops_class(PortableOps):
        def silu_mul(self, gate_up: Tensor) -> Tensor:
            return super().silu_mul(gate_up).double()


class WrongDevice(Good):
    class ops_class(PortableOps):
        def silu_mul(self, gate_up: Tensor) -> Tensor:
            return super().silu_mul(gate_up).to("meta")


class NoTensor(Good):
    class ops_class(PortableOps):
        def silu_mul(self, gate_up: Tensor) -> Any:
            return None


class ClearsItsInput(Good):
    class ops_class(PortableOps):
        def silu_mul(self, gate_up: Tensor) -> Tensor:
            result = super().silu_mul(gate_up)
            gate_up.detach().zero_()
            return result


class NormsInPlace(Good):
    class ops_class(PortableOps):
        def rms_norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor:
            result = super().rms_norm(x, weight, eps)
            x.detach().add_(1.0)
            return result


class WithoutGradient(Good):
    class ops_class(PortableOps):
        def rms_norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor:
            with torch.no_grad():
                return super().rms_norm(x, weight, eps)


class RefusesGradient(Good):
    class ops_class(PortableOps):
        def rope(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
            if x.requires_grad:
                raise RuntimeError("only inference")
            return super().rope(x, cos, sin)


class ForgetsTheMean(Good):
    """The gradient of a norm as if its scale were a constant."""

    class ops_class(PortableOps):
        def rms_norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor:
            scale = torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + eps).detach()
            return weight * (x * scale).to(x.dtype)


class Misspelt(Good):
    class ops_class(PortableOps):
        def silu_mull(self, gate_up: Tensor) -> Tensor:
            return super().silu_mul(gate_up)


class Hangs(Good):
    class ops_class(PortableOps):
        def silu_mul(self, gate_up: Tensor) -> Tensor:
            time.sleep(1000)
            return gate_up


class Dies(Good):
    class ops_class(PortableOps):
        def silu_mul(self, gate_up: Tensor) -> Tensor:
            os.kill(os.getpid(), signal.SIGSEGV)
            return gate_up


class HangsAtOpening(Good):
    def __init__(self, index: int = 0) -> None:
        time.sleep(1000)


class DiesAtOpening(Good):
    def __init__(self, index: int = 0) -> None:
        os._exit(7)


class KernelOps(PortableOps):
    def silu_mul(self, gate_up: Tensor) -> Tensor:
        wrong = os.environ.get("FAKE_KERNELS") == "old"
        return super().silu_mul(gate_up) * (1.5 if wrong else 1.0)


class TwoKernels(Good):
    """The kernels for older chips are wrong."""

    ops_class = KernelOps
    variant_variable = "FAKE_KERNELS"

    @classmethod
    def variants(cls) -> tuple[str, ...]:
        return ("older", "old")
