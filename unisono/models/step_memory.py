"""The memory of a step beside weights and caches, counted before a model has any memory.

An upper bound, from the shapes of the modules: every entry counts four bytes, the float32 in which
kernels compute, and what lives together is added up as the decoder's frames hold it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from unisono.core.cache import CacheKind, LayerCache
from unisono.hardware.ops.attention import AttentionSize
from unisono.hardware.ops.experts import stacked_numbers
from unisono.hardware.ops.latent_attention import LatentAttentionSize
from unisono.models.config import LatentShape, ModelConfig
from unisono.models.decoder import Decoder
from unisono.models.layers.linear import Linear
from unisono.models.layers.moe import Experts

_ITEM_BYTES = 4
_STREAMS = 6
"""Rows of H entries per token: x and the residual stream before a layer, the sum, a norm's own."""
_COPIES: dict[CacheKind, int] = {"full": 2, "window": 2, "latent": 2, "state": 6}
"""Copies of a layer's linear parts that live together: the factors, and the product; a
recurrence has queries, keys, values and decays of its own in chunks."""
_ROUTED_COPIES = 6
"""Rows of H entries per token and chosen expert: by expert, results, sorted back, weighted."""
_LOGIT_COPIES = 5
"""Rows of V entries per row: logits, scaled by temperature, filtered, and as probabilities."""
_SCORED_COPIES = 5
"""Rows of V entries per prompt position: logits, their log-softmax, a comparison counted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LargestStep:
    """The most that one step of an engine holds."""

    num_tokens: int
    num_rows: int
    """Rows, each of which may get a token."""
    num_scored: int
    """Positions of prompts whose logits are looked at together."""
    context: int
    """Tokens of the longest row."""


def step_bytes(model: Decoder, step: LargestStep) -> int:
    """The most that a step takes at once; the model may be on the meta device."""
    config, tokens = model.config, step.num_tokens
    caches = model.layer_caches(torch.float32)
    sizes = [_attention_size(model, step, cache) for cache in caches]
    head_dim = max(size.head_dim for size in sizes)
    heads = (config.num_heads + 2 * config.num_kv_heads) * head_dim
    width = max(_width(layer, config.hidden_size) for layer in model.layers)
    copies = max(_COPIES[cache.kind] for cache in caches)
    streams = tokens * _STREAMS * config.hidden_size
    rotations = tokens * 2 * head_dim * max(1, len(model.layer_ropes))
    attending = tokens * 3 * heads + _attention_bytes(model, step, caches) // _ITEM_BYTES
    linear = tokens * copies * width + _looked_up(model, tokens)
    inside = max(linear, tokens * (width + 5 * heads), attending)
    rows = max(_LOGIT_COPIES * step.num_rows, step.num_rows + _SCORED_COPIES * step.num_scored)
    vocab_size = config.vocab_size if model.has_head else 0
    behind = tokens * 2 * config.hidden_size + rows * vocab_size
    return _ITEM_BYTES * max(streams + rotations + inside, behind)


def _attention_size(model: Decoder, step: LargestStep, cache: LayerCache) -> AttentionSize:
    """Sizes of the largest row in a layer; its cache says which heads it has."""
    config = model.config
    heads = (config.num_kv_heads, config.head_dim)
    if cache.kind in ("full", "window") and len(cache.tensors[0].shape) == 2:
        heads = (cache.tensors[0].shape[0], cache.tensors[0].shape[1])
    return AttentionSize(
        num_rows=step.num_rows,
        num_queries=step.num_tokens,
        context=step.context,
        window=cache.window,
        num_heads=config.num_heads,
        num_kv_heads=heads[0],
        head_dim=heads[1],
        capped=config.attention_softcap is not None,
    )


def _attention_bytes(model: Decoder, step: LargestStep, caches: list[LayerCache]) -> int:
    """The most that attention takes in any layer."""
    config, ops = model.config, model.lm_head.ops
    sizes = {
        _attention_size(model, step, cache) for cache in caches if cache.kind in ("full", "window")
    }
    found = [ops.attention_bytes(size) for size in sizes]
    if config.latent is not None:
        found.append(ops.latent_attention_bytes(_latent_size(config, config.latent, step)))
    return max(found, default=0)


def _latent_size(config: ModelConfig, shape: LatentShape, step: LargestStep) -> LatentAttentionSize:
    return LatentAttentionSize(
        num_rows=step.num_rows,
        num_queries=step.num_tokens,
        context=step.context,
        num_heads=config.num_heads,
        latent_dim=shape.rank,
        rotated_dim=shape.rotated_dim,
        key_dim=shape.key_dim,
        value_dim=shape.value_dim,
        num_index_heads=0 if shape.index is None else shape.index.num_heads,
        index_dim=0 if shape.index is None else shape.index.head_dim,
    )


def _looked_up(model: Decoder, num_tokens: int) -> int:
    """Entries that experts take that are stacked."""
    if not model.lm_head.ops.stacks_experts:
        return 0
    shapes = {module.shape for module in model.modules() if isinstance(module, Experts)}
    found = [
        stacked_numbers(
            num_tokens,
            num_experts=shape.num_experts,
            num_chosen=shape.routing.num_chosen,
            hidden=model.config.hidden_size,
            width=shape.size,
        )
        for shape in shapes
    ]
    return max(found, default=0)


def _width(module: nn.Module, hidden_size: int) -> int:
    """Entries a token has in the results of all linear parts of a module, those of its chosen
    experts among them."""
    if isinstance(module, Linear):
        return module.shape[0]
    if isinstance(module, Experts):
        chosen = module.shape.routing.num_chosen * _ROUTED_COPIES * hidden_size
        return chosen + _width(module[0], hidden_size)
    return sum(_width(child, hidden_size) for child in module.children())
