"""The decoder that families with latent attention share: configuration, attention and its cache."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch

from unisono.core.cache import CacheTensor, LayerCache
from unisono.core.errors import CheckpointError
from unisono.models.config import IndexShape, LatentShape, RopeConfig
from unisono.models.decoder import Decoder, num_pairs
from unisono.models.layers.latent_attention import LatentAttention
from unisono.models.raw_config import RawConfig

_MAX_DIM = 2**16


class LatentDecoder(Decoder):
    """A decoder whose layers keep latents."""

    attention_class = LatentAttention

    @property
    def latent(self) -> LatentShape:
        assert self.config.latent is not None
        return self.config.latent

    def attention_flops(self, layer: int, length: int) -> int:
        """Operations over keys and values that exist; ``kv_b_proj`` is counted with the weights."""
        shape, index = self.latent, self.latent.index
        one_pair = self.config.num_heads * (shape.key_dim + shape.rotated_dim + shape.value_dim)
        if index is None:
            return 2 * num_pairs(length, None) * one_pair
        chosen = num_pairs(length, index.num_selected) * one_pair
        looked_at = num_pairs(length, None) * index.num_heads * index.head_dim
        return 2 * (chosen + (looked_at if layer in index.choosing_layers else 0))

    def layer_caches(self, dtype: torch.dtype) -> list[LayerCache]:
        return [
            LayerCache(kind="latent", tensors=self._cached(layer, str(dtype)))
            for layer in range(self.config.num_layers)
        ]

    def _cached(self, layer: int, dtype: str) -> tuple[CacheTensor, ...]:
        index, name = self.latent.index, dtype.removeprefix("torch.")
        most = None if index is None else index.num_selected
        latents = CacheTensor(shape=(self.latent.cached_dim,), dtype=name, most_read=most)
        if index is None or layer not in index.choosing_layers:
            return (latents,)
        return latents, CacheTensor(shape=(index.head_dim,), dtype=name)


def read_latent(raw: RawConfig, index: IndexShape | None = None) -> dict[str, Any]:
    """The fields of latent attention, for ``dense_decoder``; with ``index`` it is sparse.

    Raises:
        CheckpointError: a number is missing or not of its kind, or they contradict each other.
    """
    key_dim = raw.integer("qk_nope_head_dim", most=_MAX_DIM)
    rotated_dim = raw.integer("qk_rope_head_dim", most=_MAX_DIM)
    num_heads = raw.integer("num_attention_heads")
    if raw.integer("num_key_value_heads", num_heads) != num_heads:
        raise CheckpointError(
            f"{raw.source}: latent attention has as many key-value heads as heads ({num_heads})."
        )
    rope = replace(raw.rope(rotated_dim), interleaved=raw.flag("rope_interleave", True))
    if rope.rotary_dim != rotated_dim:
        raise CheckpointError(
            f"{raw.source}: rope rotates {rope.rotary_dim} dimensions, qk_rope_head_dim says "
            f"{rotated_dim}."
        )
    ranked = raw.get("q_lora_rank") is not None
    return {
        "head_dim": key_dim + rotated_dim,
        "num_kv_heads": num_heads,
        "rope": rope,
        "latent": LatentShape(
            query_rank=raw.integer("q_lora_rank", most=_MAX_DIM) if ranked else None,
            rank=raw.integer("kv_lora_rank", most=_MAX_DIM),
            key_dim=key_dim,
            rotated_dim=rotated_dim,
            value_dim=raw.integer("v_head_dim", most=_MAX_DIM),
            scale=(key_dim + rotated_dim) ** -0.5 * _stretch(raw, rope) ** 2,
            bias=raw.flag("attention_bias", False),
            index=index,
        ),
    }


def read_index(raw: RawConfig, choosing_layers: Iterable[int], *, interleaved: bool) -> IndexShape:
    """The fields of the index of a sparse attention.

    Raises:
        CheckpointError: a number is missing or not of its kind, or they contradict each other.
    """
    head_dim, rotated_dim = (
        raw.integer("index_head_dim", most=_MAX_DIM),
        raw.integer("qk_rope_head_dim"),
    )
    if rotated_dim > head_dim:
        raise CheckpointError(
            f"{raw.source}: qk_rope_head_dim {rotated_dim} is more than index_head_dim {head_dim}."
        )
    raw.integer("q_lora_rank")
    return IndexShape(
        num_heads=raw.integer("index_n_heads", most=_MAX_DIM),
        head_dim=head_dim,
        num_selected=raw.integer("index_topk"),
        interleaved=raw.flag("indexer_rope_interleave", interleaved),
        choosing_layers=frozenset(choosing_layers),
    )


def _stretch(raw: RawConfig, rope: RopeConfig) -> float:
    """Factor of queries and keys by YaRN's ``mscale_all_dim`` (Peng et al., 2023, as DeepSeek-V2
    uses it: the rotated part alone has ``mscale`` in its angles)."""
    own = RawConfig(rope.scaling, f"{raw.source}: rope")
    if rope.kind == "default" or not own.get("mscale_all_dim"):
        return 1.0
    factor = own.number("factor")
    return 1.0 if factor <= 1 else 0.1 * own.number("mscale_all_dim") * math.log(factor) + 1.0
