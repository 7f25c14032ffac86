"""Whole modules in one native call each, from the records that describe them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from unisono.hardware import (
    CpuOps,
    QuantizedKV,
    Rotation,
    StandardDecoder,
    StandardEmbedding,
    StandardLayer,
    StandardLinear,
    StandardMLP,
)
from unisono_cpu import ops as native
from unisono_cpu.adapters import NativeAdapters
from unisono_cpu.decoder import DecoderShape, LayerWeights, NativeDecoder, TableRows, Turns
from unisono_cpu.library import Adapters
from unisono_cpu.weights import PackedWeight

COVERED = (torch.bfloat16, torch.float32)
"""Dtypes of activations that the kernels know."""


def fused_mlp(mlp: StandardMLP) -> Callable[..., Any] | None:
    """gate_up, silu and product, down: one call, or three in a step with adapters, which computes
    the same. None: a weight is not the library's."""
    if not _are_packed(mlp.gate_up, mlp.down):
        return None
    weights = mlp.gate_up.weight, mlp.down.weight
    biases = _float(mlp.gate_up.bias), _float(mlp.down.bias)

    def forward(x: Tensor) -> Tensor:
        if x.dtype not in COVERED:
            return forward(x.float()).to(x.dtype)
        if not (mlp.gate_up.adapters() or mlp.down.adapters()):
            return native.mlp(x, *weights, *biases)
        gate_up = _adapted(mlp.gate_up, x, biases[0], torch.float32)
        return _adapted(mlp.down, native.silu_mul(gate_up), biases[1], x.dtype)

    return forward


def _adapted(product: StandardLinear, x: Tensor, bias: Any, dtype: torch.dtype) -> Tensor:
    y = native.linear(x, product.weight, bias, dtype=dtype)
    return y if product.addition is None else product.addition(x, y)


def fused_decoder(
    decoder: StandardDecoder, plain: Callable[..., Any], ops: CpuOps
) -> Callable[..., Any] | None:
    """All layers in one call. ``plain`` serves where there is no cache, or one that the kernels do
    not know. None: a weight is not the library's, or layers differ in what the call states once."""
    if not all(map(_is_packed, decoder.layers)) or decoder.embedding.table.dtype not in COVERED:
        return None
    shape = _shape(decoder)
    if shape is None:
        return None
    layers = [_weights(layer) for layer in decoder.layers]
    stack = NativeDecoder(shape, layers, _float(decoder.norm.weight))
    loaded = _LoadedAdapters(decoder)

    def forward(token_ids: Tensor, step: Any) -> Tensor:
        if step.kv is None or any(isinstance(kv, QuantizedKV) for kv in step.kv):
            plain_result: Tensor = plain(token_ids, step)
            return plain_result
        plans = [attention.plan for attention in step.attention]
        rows = _rows(decoder.embedding, token_ids, ops)
        adapters = loaded.of_step(step.adapters)
        turns = _turns(decoder.rotation, step)
        return stack.run(rows, turns, plans, step.kv, adapters=adapters)[0]

    return forward


class _LoadedAdapters:
    """The adapters of a decoder as they were in the last step that had any."""

    def __init__(self, decoder: StandardDecoder) -> None:
        self._decoder = decoder
        self._version = -1
        self._native: NativeAdapters | None = None

    def of_step(self, adapters: Any) -> Adapters | None:
        """The structure for a step's tokens (``StepAdapters``); None: none has an adapter."""
        if adapters is None:
            return None
        if self._native is None or adapters.version != self._version:
            self._native = NativeAdapters(self._decoder.layers)
            self._version = adapters.version
        return self._native.of_step(adapters.numbers)


def _is_packed(layer: StandardLayer) -> bool:
    attention, mlp = layer.attention, layer.mlp
    return _are_packed(attention.qkv, attention.output, mlp.gate_up, mlp.down)


def _are_packed(*products: StandardLinear) -> bool:
    return all(isinstance(product.weight, PackedWeight) for product in products)


def _shape(decoder: StandardDecoder) -> DecoderShape | None:
    """Settings that the call states once for all layers; None: they differ in them."""
    shapes = {
        DecoderShape(
            hidden=len(decoder.norm.weight),
            inner=layer.mlp.down.weight.shape[1],
            num_heads=layer.attention.num_heads,
            num_kv_heads=layer.attention.num_kv_heads,
            head_dim=layer.attention.head_dim,
            rotary_half=decoder.rotation.num_pairs,
            eps=eps,
            scale=layer.attention.scale,
        )
        for layer in decoder.layers
        for eps in (decoder.norm.eps, *_epsilons(layer))
    }
    return shapes.pop() if len(shapes) == 1 else None


def _epsilons(layer: StandardLayer) -> Iterator[float]:
    yield layer.attention_norm.eps
    yield layer.mlp_norm.eps
    if layer.attention.head_norms is not None:
        yield layer.attention.head_norms[2]


def _weights(layer: StandardLayer) -> LayerWeights:
    attention, mlp = layer.attention, layer.mlp
    q_norm, k_norm, _ = attention.head_norms or (None, None, 0.0)
    return LayerWeights(
        input_norm=_float(layer.attention_norm.weight),
        post_norm=_float(layer.mlp_norm.weight),
        qkv=attention.qkv.weight,
        output=attention.output.weight,
        gate_up=mlp.gate_up.weight,
        down=mlp.down.weight,
        q_norm=_float(q_norm),
        k_norm=_float(k_norm),
        qkv_bias=_float(attention.qkv.bias),
        output_bias=_float(attention.output.bias),
        gate_up_bias=_float(mlp.gate_up.bias),
        down_bias=_float(mlp.down.bias),
    )


def _rows(embedding: StandardEmbedding, token_ids: Tensor, ops: CpuOps) -> TableRows | Tensor:
    table = embedding.table
    if isinstance(table, Tensor) and table.is_contiguous():
        return TableRows(table, token_ids)
    return ops.embedding(token_ids, table)


def _turns(rotation: Rotation, step: Any) -> Turns | tuple[Tensor, Tensor]:
    if rotation.frequencies is None:
        return rotation.angles(step.positions, step.rope_lengths)
    return Turns(step.positions, rotation.frequencies, rotation.scale)


def _float(x: Tensor | None) -> Any:
    return None if x is None else x.detach().float().contiguous()
