"""Models that are trained: what can be, its gradients, and steps without a cache."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from unisono.core.cache import LayerCache
from unisono.core.errors import ConfigError
from unisono.hardware.ops.attention import AttentionStep
from unisono.models.checkpoint.plan import WeightPlan
from unisono.models.decoder import Decoder
from unisono.models.layers.linear import Embedding
from unisono.models.parallel import Shard
from unisono.models.step import StepContext


def check_trainable(folder: Path, plan: WeightPlan, shard: Shard | None) -> None:
    """Raises ConfigError: weights that have no gradients, or a rank's part."""
    if plan.stored is not None:
        raise ConfigError(
            f"{folder} has quantised weights, which cannot be trained.",
            hint="Train the model that they were made from, in bfloat16 or float32.",
        )
    if plan.format is not None:
        raise ConfigError(
            f"Weights in {plan.format} cannot be trained.",
            hint="Leave weights at auto, and choose a dtype of 16 or 32 bits.",
        )
    if shard is not None:
        raise ConfigError(
            "A model that ranks share cannot be trained.", hint="Load the whole model."
        )


def let_train(model: Decoder) -> None:
    """Let every parameter require its gradient, but those that a module counts among its
    ``constants``. Tables may lie in a mapped file, and get memory of their own."""
    for module in model.modules():
        constants = getattr(module, "constants", ())
        for name, parameter in module.named_parameters(recurse=False):
            parameter.requires_grad_(name not in constants)
        if isinstance(module, Embedding):
            module.weight.data = module.weight.data.clone()


def without_cache(model: Decoder, lengths: Sequence[int], device: torch.device) -> StepContext:
    """The context of a forward pass over sequences of these lengths, each at least 1, packed one
    after the other.

    Each token sees those before it in its own sequence; recurrent layers begin with zeros. The
    caches of the layers say what is attended to; nothing is kept.
    """
    positions = torch.cat([torch.arange(length) for length in lengths])
    slots = torch.arange(len(positions), device=device)
    made: dict[tuple[str, int | None], AttentionStep] = {}
    attention = []
    for cache in model.layer_caches(torch.float32):
        like = cache.kind, cache.window
        if like not in made:
            made[like] = _attention_step(cache, list(lengths), slots)
        attention.append(made[like])
    rotated = [model.rope_length(length, length) for length in lengths]
    return StepContext(
        positions=positions.to(device),
        kv=None,
        attention=attention,
        rope_lengths=torch.tensor(rotated).repeat_interleave(torch.tensor(lengths)).to(device)
        if any(rotated)
        else None,
    )


def _attention_step(cache: LayerCache, lengths: list[int], slots: torch.Tensor) -> AttentionStep:
    """Rows over blocks of one token each, in order; or, of states, over one block each."""
    if cache.kind == "state":
        tables, block_size = [[row] for row in range(len(lengths))], max(lengths, default=1)
    else:
        ends = torch.tensor(lengths).cumsum(0).tolist()
        tables = [list(range(end - length, end)) for end, length in zip(ends, lengths, strict=True)]
        block_size = 1
    return AttentionStep(
        query_lens=lengths,
        context_lens=list(lengths),
        block_tables=tables,
        slots=slots,
        block_size=block_size,
        window=cache.window,
    )
