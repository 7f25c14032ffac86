"""A whole decoder, or some layers of one, in one native call a step."""

from __future__ import annotations

import ctypes
import operator
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unisono_cpu import library
from unisono_cpu.library import call, native
from unisono_cpu.ops import DTYPES, PagedStep, cache_of, floats, native_linear
from unisono_cpu.weights import PackedWeight

_ADAPTED = "uc_decoder_run_adapted"


@dataclass(frozen=True, kw_only=True, slots=True)
class DecoderShape:
    """Sizes that all layers share."""

    hidden: int
    inner: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    rotary_half: int
    """Twice as many dimensions of a head turn."""
    eps: float
    scale: float
    softcap: float = 0.0
    """0: none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerWeights:
    """One layer. Norms and biases are float32; qkv is query, key and value rows, gate_up the gate's
    and then the up's."""

    input_norm: Tensor
    post_norm: Tensor
    qkv: PackedWeight
    output: PackedWeight
    gate_up: PackedWeight
    down: PackedWeight
    q_norm: Tensor | None = None
    k_norm: Tensor | None = None
    qkv_bias: Tensor | None = None
    output_bias: Tensor | None = None
    gate_up_bias: Tensor | None = None
    down_bias: Tensor | None = None


@dataclass(frozen=True, slots=True)
class TableRows:
    """The input of the first layer: rows of a table [V, H] by ids, int64 [T]."""

    table: Tensor
    ids: Tensor


@dataclass(frozen=True, slots=True)
class Turns:
    """Angles as products of positions, int64 [T], and frequencies, float32 [P / 2]; cosines and
    sines are multiplied by ``scale``."""

    positions: Tensor
    frequencies: Tensor
    scale: float = 1.0


class NativeDecoder:
    """Layers with their weights, checked once. ``final_norm`` float32 [H] or None: then the branch
    and the residual stream come out as they are."""

    def __init__(
        self, shape: DecoderShape, layers: Sequence[LayerWeights], final_norm: Tensor | None = None
    ) -> None:
        self.shape = shape
        self.layers = tuple(layers)
        self.final_norm = final_norm
        self._handle = ctypes.c_void_p()
        structures = (library.Layer * len(self.layers))(*map(self._structure, self.layers))
        spec = library.DecoderSpec(
            len(self.layers), shape.hidden, shape.inner, shape.num_heads, shape.num_kv_heads,
            shape.head_dim, shape.rotary_half, shape.eps, shape.scale, shape.softcap,
            structures, floats(final_norm, "final norm", shape.hidden),
        )  # fmt: skip
        call("uc_decoder_new", spec, ctypes.byref(self._handle))
        self._steps = (library.LayerStep * len(self.layers))()
        self._kv: tuple[Tensor, ...] = ()

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            native.uc_decoder_free(self._handle)

    def _structure(self, layer: LayerWeights) -> library.Layer:
        shape = self.shape
        return library.Layer(
            floats(layer.input_norm, "input norm", shape.hidden),
            floats(layer.post_norm, "post norm", shape.hidden),
            floats(layer.q_norm, "query norm", shape.head_dim),
            floats(layer.k_norm, "key norm", shape.head_dim),
            native_linear(layer.qkv, layer.qkv_bias),
            native_linear(layer.output, layer.output_bias),
            native_linear(layer.gate_up, layer.gate_up_bias),
            native_linear(layer.down, layer.down_bias),
        )

    def _place(self, steps: Sequence[PagedStep], kv: Sequence[Tensor]) -> None:
        """Fill the layers' structures; caches that are those of the last run stay."""
        if not all(map(operator.is_, kv, self._kv)) or len(self._kv) != len(kv):
            for at, cache in zip(self._steps, kv, strict=True):
                at.cache = cache_of(cache)
            self._kv = tuple(kv)
        previous = None
        for at, step in zip(self._steps, steps, strict=True):
            if step is not previous:
                previous, pointer = step, ctypes.pointer(step.native)
            at.step = pointer

    def run(
        self,
        x: Tensor | TableRows,
        rope: tuple[Tensor, Tensor] | Turns,
        steps: Sequence[PagedStep],
        kv: Sequence[Tensor],
        residual: Tensor | None = None,
        adapters: library.Adapters | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """x [T, H] (and the residual stream of the same dtype) through all layers. ``rope``:
        cosines and sines, float32 [T, P / 2]. ``steps`` and ``kv`` have one entry a layer; layers
        may share a step. ``adapters``: of the tokens. -> (normed, None), or without a final norm
        (branch, residual)."""
        source, ids = (x.table, x.ids) if isinstance(x, TableRows) else (x, None)
        rows = _rows(source, ids, self.shape.hidden)
        shape = (len(source) if ids is None else len(ids), self.shape.hidden)
        if residual is not None and (
            residual.shape != shape
            or residual.dtype != source.dtype
            or not residual.is_contiguous()
        ):
            raise ValueError("The residual stream must be as x.")
        if len(steps) != len(self.layers) or len(kv) != len(self.layers):
            raise ValueError(f"steps and kv must have {len(self.layers)} entries.")
        self._place(steps, kv)
        out = torch.empty(shape, dtype=source.dtype)
        stream = torch.empty_like(out) if self.final_norm is None else None
        function, more = ("uc_decoder_run", ()) if adapters is None else (_ADAPTED, (adapters,))
        call(
            function, self._handle, self._steps, shape[0], rows,
            None if residual is None else residual.data_ptr(),
            _turns(rope, shape[0], self.shape.rotary_half), out.data_ptr(),
            None if stream is None else stream.data_ptr(), *more,
        )  # fmt: skip
        return out, stream


def _rows(source: Tensor, ids: Tensor | None, hidden: int) -> library.Rows:
    dtype = DTYPES.get(source.dtype)
    if source.shape[1:] != (hidden,) or dtype not in (0, 1) or not source.is_contiguous():
        raise ValueError(f"x must be [T, {hidden}], bfloat16 or float32, contiguous.")
    return library.Rows(source.data_ptr(), _integers(ids, "ids"), len(source), dtype)


def _turns(rope: tuple[Tensor, Tensor] | Turns, tokens: int, half: int) -> library.Turns:
    if isinstance(rope, Turns):
        if len(rope.positions) != tokens:
            raise ValueError(f"positions must be [{tokens}].")
        frequencies = floats(rope.frequencies, "frequencies", half)
        positions = _integers(rope.positions, "positions")
        return library.Turns(None, None, positions, frequencies, rope.scale)
    cos, sin = rope
    return library.Turns(floats(cos, "cos", tokens, half), floats(sin, "sin", tokens, half))


def _integers(x: Tensor | None, name: str) -> int | None:
    """The address of an int64 tensor of one dimension."""
    if x is None:
        return None
    if x.dtype != torch.int64 or x.dim() != 1 or not x.is_contiguous():
        raise ValueError(f"{name} must be int64 [T], contiguous.")
    return x.data_ptr()
