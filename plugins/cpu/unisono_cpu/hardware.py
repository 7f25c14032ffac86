"""The host's processor with native kernels: what unisono finds under the name ``cpu`` where this
package is installed. What no kernel covers (gradients, float16) runs as without it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

import unisono_cpu as native
from unisono.core import WeightFormat
from unisono.core.errors import CheckpointError
from unisono.hardware import (
    AttentionStep,
    BlockWeight,
    CpuHardware,
    CpuOps,
    Expert,
    Finding,
    HeldWeight,
    LayerKV,
    LevelWeight,
    PackedForm,
    QuantizedKV,
    ReorderedWeight,
    StackedWeight,
    Standard,
    StandardDecoder,
    StandardMLP,
    as_levels,
)
from unisono_cpu.fusing import COVERED, fused_decoder, fused_mlp
from unisono_cpu.library import runs_adapters
from unisono_cpu.processor import ISA_VARIABLE, UNVERIFIED, features
from unisono_cpu.weights import PackedWeight

_BLOCK_BITS = {
    "Q4_0": 4.5,
    "Q4_1": 5.0,
    "Q4_K": 6.0,
    **dict.fromkeys(("Q5_0", "Q8_0", "IQ4_NL", "MXFP4"), 8.5),
    **dict.fromkeys(("Q5_1", "IQ4_XS"), 9.0),
    **dict.fromkeys(("Q3_K", "Q5_K", "Q6_K"), 10.0),
    "Q2_K": 12.0,
}
"""Levels of 4 or 8 bits; a scale, and a shift where there is one, for each 16 or 32: of 16 bits
where the file has them in float16, else of 32."""


class NativeForm(PackedForm):
    """Packed weights lie in a file as they do in memory."""

    layout = native.LAYOUT

    def __init__(self, ops: NativeCpuOps) -> None:
        self._ops = ops

    def to_bytes(self, prepared: PackedWeight) -> Tensor:
        return prepared.blob

    def from_bytes(
        self, data: Tensor, shape: tuple[int, int], format: WeightFormat
    ) -> PackedWeight:
        weight = PackedWeight(data)
        expected = shape, _format_name(format), format.group_size
        if (weight.shape, weight.format, weight.group) != expected:
            raise CheckpointError(f"{weight} where {shape} in {format} is expected.")
        weight.verify()
        self._ops.packs = True
        return weight


class NativeCpuOps(CpuOps):
    """Products, attention, choice of tokens, and whole decoders in native code."""

    block_bits = _BLOCK_BITS
    fuses_adapters = runs_adapters()

    def __init__(self) -> None:
        self.packs = False
        """True where any weight is in the native form."""
        self.decodes = False
        """True where any weight is looked up and multiplied by torch."""
        self.packed_form = NativeForm(self)
        self.fallbacks: Counter[str] = Counter()

    def _fall_back(self, op: str, x: Tensor) -> None:
        self.fallbacks[f"{op} {str(x.dtype).removeprefix('torch.')} {list(x.shape)}"] += 1

    def prepare_linear(self, weight: Tensor, format: WeightFormat | None = None) -> Any:
        if format is None and weight.dtype not in COVERED:
            return super().prepare_linear(weight, format)
        self.packs = True
        if format is not None:
            return native.pack(weight.detach(), _format_name(format), format.group_size)
        return native.pack(weight.detach(), "bf16" if weight.dtype == torch.bfloat16 else "f32")

    def prepare_quantized(self, weight: HeldWeight) -> Any:
        if isinstance(weight, LevelWeight):
            self.packs = True
            return pack_quantized(weight)
        found = as_levels(weight)
        if found is not None:
            self.packs = True
            return pack_quantized(*found)
        if isinstance(weight, BlockWeight):
            return self.prepare_linear(weight.dequantize(weight.dtype))
        self.decodes |= not isinstance(weight, StackedWeight | ReorderedWeight)
        return super().prepare_quantized(weight)

    def linear(self, x: Tensor, weight: Any, bias: Tensor | None = None) -> Tensor:
        if isinstance(weight, StackedWeight | ReorderedWeight):
            return super().linear(x, weight, bias)
        if not isinstance(weight, PackedWeight):
            self._fall_back("linear", x)
            return super().linear(x, weight, bias)
        if x.dtype not in COVERED:
            return self.linear(x.float(), weight, bias).to(x.dtype)
        return native.linear(x, weight, _float(bias))

    def logits(self, x: Tensor, weight: Any, bias: Tensor | None = None) -> Tensor:
        if not isinstance(weight, PackedWeight) or x.dtype not in COVERED:
            return super().logits(x, weight, bias)
        return native.linear(x, weight, _float(bias), dtype=torch.float32)

    def silu_mul(self, gate_up: Tensor) -> Tensor:
        if gate_up.dtype not in COVERED or gate_up.requires_grad:
            self._fall_back("silu_mul", gate_up)
            return super().silu_mul(gate_up)
        return native.silu_mul(gate_up)

    def plan_attention(self, step: AttentionStep, kv: LayerKV, *, into: Any = None) -> Any:
        if isinstance(kv, QuantizedKV) or kv.dtype not in COVERED:
            return super().plan_attention(step, kv)
        return native.PagedStep(
            step.query_lens, step.context_lens, step.block_tables, step.slots, step.window
        )

    def attention(
        self,
        query: Tensor,
        kv: LayerKV,
        step: AttentionStep,
        *,
        scale: float,
        softcap: float | None = None,
        sinks: Tensor | None = None,
    ) -> Tensor:
        if isinstance(kv, QuantizedKV):
            self._fall_back("attention over a cache of 8 bits,", query)
            return super().attention(query, kv, step, scale=scale, softcap=softcap, sinks=sinks)
        if not isinstance(step.plan, native.PagedStep) or query.requires_grad or kv.requires_grad:
            self._fall_back("attention", query)
            step = replace(step, plan=super().plan_attention(step, kv))
            return super().attention(query, kv, step, scale=scale, softcap=softcap, sinks=sinks)
        return native.attention(
            query, kv, step.plan, scale=scale, softcap=softcap, sinks=_float(sinks)
        )

    def moe_experts(
        self,
        x: Tensor,
        ids: Tensor,
        weights: Tensor,
        experts: Sequence[Expert],
        activation: str = "silu",
    ) -> Tensor:
        chosen = {index: experts[index] for index in set(ids.flatten().tolist())}
        differentiable = x.requires_grad or weights.requires_grad
        if activation != "silu" or differentiable or not all(map(_is_packed, chosen.values())):
            return super().moe_experts(x, ids, weights, experts, activation)
        if x.dtype not in COVERED:
            return self.moe_experts(x.float(), ids, weights, experts).to(x.dtype)
        pairs = {index: (expert.gate_up, expert.down) for index, expert in chosen.items()}
        return native.experts(x, ids.contiguous(), weights.contiguous(), pairs)

    def argmax(self, logits: Tensor) -> Tensor:
        if logits.dtype != torch.float32 or logits.numel() == 0:
            self._fall_back("argmax", logits)
            return super().argmax(logits)
        return native.argmax(logits.contiguous())

    def draw(
        self,
        logits: Tensor,
        uniforms: Tensor,
        *,
        top_k: list[int],
        top_p: list[float],
        min_p: list[float],
    ) -> Tensor:
        return native.draw(logits.contiguous(), uniforms, top_k=top_k, top_p=top_p, min_p=min_p)

    def fuse(self, standard: Standard, forward: Callable[..., Any]) -> Callable[..., Any] | None:
        if isinstance(standard, StandardDecoder):
            return fused_decoder(standard, forward, self)
        return fused_mlp(standard) if isinstance(standard, StandardMLP) else None


def pack_quantized(weight: LevelWeight, shifts: Tensor | None = None) -> PackedWeight:
    """The same levels, scales and shifts in the library's layout."""
    name = _format_name(weight.format)
    return native.pack_levels(
        weight.levels,
        weight.scales,
        name if shifts is None else name + "s",
        weight.format.group_size,
        zeros=weight.zeros,
        shifts=shifts,
        scale_dtype=_smallest_dtype([weight.scales] if shifts is None else [weight.scales, shifts]),
    )


def _smallest_dtype(numbers: list[Tensor]) -> torch.dtype:
    """The one of fewest bits that has all these float32 numbers."""
    for dtype in (torch.bfloat16, torch.float16):
        if all(torch.equal(each, each.to(dtype).float()) for each in numbers):
            return dtype
    return torch.float32


def _is_packed(expert: Expert) -> bool:
    """True where both products are the library's, and nothing else is added."""
    gate_up, down, *biases = expert
    packed = isinstance(gate_up, PackedWeight) and isinstance(down, PackedWeight)
    return packed and biases == [None, None]


def _format_name(format: WeightFormat) -> str:
    if format.bits == 8:
        return "int8"
    return "int4" if format.symmetric else "int4z"


def _float(x: Tensor | None) -> Any:
    return None if x is None else x.detach().float().contiguous()


class NativeCpuHardware(CpuHardware):
    """The host's processor."""

    facts = replace(CpuHardware.facts, op_table=4)
    ops: NativeCpuOps
    ops_class = NativeCpuOps
    variant_variable = ISA_VARIABLE

    def use_threads(self, count: int) -> None:
        super().use_threads(count)
        native.set_threads(count)

    def settle(self) -> None:
        super().settle()
        native.set_threads(torch.get_num_threads())

    def activate(self) -> AbstractContextManager[None]:
        """In a step of native code torch's own threads rest: they spin for milliseconds behind
        every parallel operation, on the very cores that the native pool needs."""
        native_alone = self.ops.packs and not self.ops.decodes
        return _one_torch_thread() if native_alone else nullcontext()

    def products_per_s(self, weights: str, dtype: str) -> float | None:
        names = {"auto": {"bfloat16": "bf16", "float32": "f32"}.get(dtype)}
        names |= {type: "int4" if bits <= 6.0 else "int8" for type, bits in _BLOCK_BITS.items()}
        name = names.get(weights, weights.partition("-")[0])
        return native.products_per_s(name) if name in native.FORMATS else None

    @classmethod
    def kernels(cls) -> str:
        found = (
            " ".join(one for one in features() if one != "hypervisor")
            or "nothing that kernels ask for"
        )
        unverified = ", unverified" if native.isa() in UNVERIFIED else ""
        return f"native kernels ({native.isa()}{unverified}; the processor has {found})"

    @classmethod
    def diagnose(cls) -> tuple[Finding, ...]:
        return ()

    @classmethod
    def variants(cls) -> tuple[str, ...]:
        return tuple(isa for isa in native.available_isas() if isa != native.isa())


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(count)
