"""The limits that ``unisono bench`` compares with: the best that a device can do, measured with
plain operations, and the least that a step has to do, from the model's shapes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import nn

from unisono.engine.model_runner import ModelRunner
from unisono.engine.stats import EngineInfo
from unisono.hardware.base import Hardware
from unisono.models.decoder import Decoder
from unisono.models.layers.linear import Linear
from unisono.models.layers.moe import Experts
from unisono.models.weight_bytes import step_bytes

_READ_BYTES = 512 << 20
_READS = 7
_LONG_ENOUGH_S = 0.02
_LARGEST_MATRIX = 8192


def memory_read_bytes_per_s(hardware: Hardware) -> dict[str, float]:
    """Best and median rate of reading a tensor far larger than any cache."""
    size = min(_READ_BYTES, hardware.memory().free // 4)
    data = torch.ones(size // 8, dtype=torch.int64, device=hardware.device)
    times = [_seconds(hardware, read) for read in (data.sum, data.amax) for _ in range(_READS)]
    return {"best": size / min(times), "median": size / median(times)}


def products_per_s(hardware: Hardware, info: EngineInfo) -> tuple[float, str]:
    """Best rate of the products of a prefill, and what was multiplied: weights in the held format,
    where the device can tell what its kernels do with those, or else matrices of torch in the
    activations' dtype."""
    rate = hardware.products_per_s(info.weight_format, info.dtype)
    if rate is None:
        return matmul_flops_per_s(hardware, info.dtype), info.dtype
    return rate, info.dtype if info.weight_format == "auto" else info.weight_format


def matmul_flops_per_s(hardware: Hardware, dtype: str) -> float:
    """Best rate of a square matrix product, of a size that takes long enough to time."""
    side, best = 512, 0.0
    while True:
        left = torch.randn(side, side, device=hardware.device).to(getattr(torch, dtype))
        right = torch.randn(side, side, device=hardware.device).to(getattr(torch, dtype))

        def multiply(left: torch.Tensor = left, right: torch.Tensor = right) -> torch.Tensor:
            return torch.nn.functional.linear(left, right)

        multiply()
        seconds = min(_seconds(hardware, multiply) for _ in range(5))
        best = max(best, 2 * side**3 / seconds)
        if seconds > _LONG_ENOUGH_S or side >= _LARGEST_MATRIX:
            return best
        side *= 2


def _seconds(hardware: Hardware, work: Callable[[], object]) -> float:
    hardware.synchronize()
    began = time.perf_counter()
    work()
    hardware.synchronize()
    return time.perf_counter() - began


def count_kv_bytes(runner: ModelRunner, context: int) -> int:
    """Bytes that one request's decode step reads of the KV cache, behind ``context`` tokens."""
    total = 0
    for group in runner.groups:
        seen = context if group.window is None else min(context, group.window)
        for layer in group.layers:
            cache = runner.pages.layers[layer]
            for tensor in cache.tensors:
                read = 1 if cache.kind == "state" else min(seen, tensor.most_read or seen)
                total += read * tensor.num_bytes
    return total


def count_weight_bytes(runner: ModelRunner, num_tokens: int) -> int:
    """Bytes of weights that a step of so many tokens reads."""
    return step_bytes(runner.model, num_tokens)


def count_prefill_flops(runner: ModelRunner, length: int) -> int:
    """Operations of a prompt of ``length`` tokens: two for each linear weight that a token is
    multiplied with, the head's for one token alone, and those of the attention between them."""
    model = runner.model
    head = math.prod(model.lm_head.shape)
    layers = [layer for group in runner.groups for layer in group.layers]
    between = sum(model.attention_flops(layer, length) for layer in layers)
    return 2 * (length * (_num_multiplied(model) - head) + head) + between


def _num_multiplied(model: Decoder) -> int:
    """Linear weights that one token is multiplied with: of experts its own alone."""
    experts = [module for module in model.modules() if isinstance(module, Experts)]
    unread = sum(_num_linear(some) * (1.0 - some.shape.share_taken(1)) for some in experts)
    return _num_linear(model) - round(unread)


def _num_linear(module: nn.Module) -> int:
    return sum(math.prod(part.shape) for part in module.modules() if isinstance(part, Linear))
