"""Reads which layers of a checkpoint have experts, how many, and how tokens choose them."""

from __future__ import annotations

from unisono.hardware.ops.experts import Routing
from unisono.models.expert_shape import MAX_EXPERTS
from unisono.models.raw_config import RawConfig

__all__ = ["later_layers", "read_num_experts", "sigmoid_routing", "sparse_layers", "stepped_layers"]


def read_num_experts(raw: RawConfig, *names: str, default: int | None = None) -> int:
    """The first of the fields ``names`` that is there."""
    name = next((name for name in names if raw.get(name) is not None), names[0])
    return raw.integer(name, default, most=MAX_EXPERTS)


def stepped_layers(raw: RawConfig) -> frozenset[int]:
    """Each ``decoder_sparse_step``-th layer, but for ``mlp_only_layers`` (Qwen)."""
    num_layers, step = raw.num_layers, raw.integer("decoder_sparse_step", 1)
    dense = raw.layer_numbers("mlp_only_layers") or ()
    return frozenset(i for i in range(num_layers) if (i + 1) % step == 0 and i not in dense)


def later_layers(raw: RawConfig) -> frozenset[int]:
    """All from ``first_k_dense_replace`` on (DeepSeek)."""
    first = raw.integer("first_k_dense_replace", 0, least=0)
    return frozenset(range(first, raw.num_layers))


def sparse_layers(raw: RawConfig) -> frozenset[int]:
    """Layers that ``mlp_layer_types`` says are sparse; without it as ``later_layers``."""
    kinds = raw.per_layer("mlp_layer_types", "dense", "sparse")
    if not kinds:
        return later_layers(raw)
    return frozenset(layer for layer, kind in enumerate(kinds) if kind == "sparse")


def sigmoid_routing(raw: RawConfig) -> Routing:
    """Sigmoid scores, groups, and a scale, under the names of DeepSeek-V3."""
    return Routing(
        num_chosen=raw.integer("num_experts_per_tok"),
        score="sigmoid",
        normalized=raw.flag("norm_topk_prob", True),
        scale=raw.number("routed_scaling_factor", 1.0),
        num_groups=raw.integer("n_group", 1),
        num_chosen_groups=raw.integer("topk_group", 1),
    )
