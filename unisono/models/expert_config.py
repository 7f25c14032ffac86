"""Reads which layers of a checkpoint have experts, how many, and how tokens choose them."""

from __future__ import annotations

from typing import Any

from unisono.hardware.ops.experts import Routing
from unisono.models.expert_shape import MAX_EXPERTS, ExpertShape
from unisono.models.raw_config import RawConfig


def read_experts(
    raw: RawConfig,
    routing: Routing,
    *,
    layers: frozenset[int] | None = None,
    count: tuple[str, ...] = ("num_experts", "num_local_experts"),
    default: int | None = None,
    width: str = "moe_intermediate_size",
    shared: str | None = None,
    **own: Any,
) -> ExpertShape:
    """The experts of a decoder; ``own`` are further fields of ``ExpertShape``.

    Args:
        layers: numbers of the layers with experts; None: all.
        count: names of fields for the number of experts; the first that is there counts, else
            ``default``.
        width: name of the field for the inner columns of an expert.
        shared: name of the field for the number of experts that every token takes; they are read
            as one.
    """
    name = next((name for name in count if raw.get(name) is not None), count[0])
    size = raw.integer(width)
    num_shared = 0 if shared is None else raw.integer(shared, 0, least=0)
    fields: dict[str, Any] = {
        "num_experts": raw.integer(name, default, most=MAX_EXPERTS),
        "size": size,
        "routing": routing,
        "layers": frozenset(range(raw.num_layers)) if layers is None else layers,
        "shared_size": size * num_shared,
    }
    return ExpertShape(**{**fields, **own})


def corrected_experts(raw: RawConfig, **own: Any) -> ExpertShape:
    """Experts as DeepSeek-V3 has them: sigmoid scores, groups, a scale, and a correction."""
    routing = grouped_routing(raw, score="sigmoid")
    return read_experts(raw, routing, corrected=True, router_float32=True, **own)


def grouped_routing(raw: RawConfig, **own: Any) -> Routing:
    """Groups of experts, and a scale, under the names of DeepSeek-V3."""
    return read_routing(
        raw,
        normalized=True,
        scale=raw.number("routed_scaling_factor", 1.0),
        num_groups=raw.integer("n_group", 1),
        num_chosen_groups=raw.integer("topk_group", 1),
        **own,
    )


def read_routing(raw: RawConfig, *, normalized: bool, **own: Any) -> Routing:
    """The choice of ``num_experts_per_tok`` experts, ``normalized`` where ``norm_topk_prob`` does
    not say; ``own`` are further fields of ``Routing``."""
    return Routing(
        num_chosen=raw.integer("num_experts_per_tok"),
        normalized=raw.flag("norm_topk_prob", normalized),
        **own,
    )


def stepped_layers(raw: RawConfig) -> frozenset[int]:
    """Layers with experts: each ``decoder_sparse_step``-th, but for ``mlp_only_layers`` (Qwen)."""
    num_layers, step = raw.num_layers, raw.integer("decoder_sparse_step", 1)
    dense = raw.layer_numbers("mlp_only_layers") or ()
    return frozenset(i for i in range(num_layers) if (i + 1) % step == 0 and i not in dense)


def later_layers(
    raw: RawConfig, name: str = "first_k_dense_replace", default: int = 0
) -> frozenset[int]:
    """Layers with experts: all behind the first ones, whose number a field gives (DeepSeek)."""
    return frozenset(range(raw.integer(name, default, least=0), raw.num_layers))


def sparse_layers(raw: RawConfig) -> frozenset[int]:
    """Layers with experts: the sparse ones of ``mlp_layer_types``; without it as
    ``later_layers``."""
    kinds = raw.per_layer("mlp_layer_types", "dense", "sparse")
    if not kinds:
        return later_layers(raw)
    return frozenset(layer for layer, kind in enumerate(kinds) if kind == "sparse")
