"""The least that a step has to read and to multiply, from the model's shapes."""

from __future__ import annotations

import math

from torch import nn

from unisono.engine.model_runner import ModelRunner
from unisono.models.decoder import Decoder
from unisono.models.layers.linear import Linear
from unisono.models.layers.moe import Experts
from unisono.models.weight_bytes import step_bytes

__all__ = ["count_kv_bytes", "count_prefill_flops", "count_weight_bytes"]


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
