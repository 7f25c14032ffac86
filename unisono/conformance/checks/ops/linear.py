"""``linear``: row counts around tiles, odd widths, long sums, the largest vocabularies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from unisono.conformance import inputs
from unisono.conformance.context import Context
from unisono.conformance.expected import plain as expected
from unisono.conformance.expected.comparing import Expected, Mismatch
from unisono.conformance.registry import check
from unisono.core.weight_format import WeightFormat
from unisono.hardware.weights.quantized import quantize

_ROWS = (1, 2, 3, 17, 31, 32, 33, 64, 65, 127, 129, 257)
_WIDTHS = (
    *((7, 5), (129, 63), (255, 257), (64, 96), (1, 33), (300, 1), (513, 1000), (256, 256)),
    *((128, 128), (31, 129), (1024, 64), (65, 511)),
)
_VOCABULARY = 248_320
_FORMATS = ("int8", "int8-g32", "int4", "int4-g64", "int4-g128", "int4-asym")


@dataclass(frozen=True, slots=True)
class Product:
    """x [.., K], W [N, K] and perhaps b [N], on the host."""

    label: str
    x: Tensor
    weight: Tensor
    bias: Tensor | None = None

    def verify(self, context: Context) -> None:
        with context.case(self.label):
            self.compare(context, expected.linear(self.x, self.weight, self.bias))

    def compare(self, context: Context, want: Expected) -> None:
        ops = context.ops
        x, bias = context.put(self.x), None if self.bias is None else context.put(self.bias)
        weight = ops.prepare_linear(context.put(self.weight.clone()))
        context.verify(lambda: ops.linear(x, weight, bias), want, dtype=self.x.dtype)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _sweep(dtype: torch.dtype, *, quick: bool) -> Iterator[Product]:
    for i, m in enumerate(_ROWS):
        widths = [_WIDTHS[i % len(_WIDTHS)]] if quick else _WIDTHS
        for n, k in widths:
            x = inputs.normal(m, k, dtype=dtype, seed=1)
            weight = inputs.normal(n, k, dtype=dtype, seed=2)
            bias = inputs.normal(n, dtype=dtype, seed=3) if i % 2 else None
            words = f"{_name(dtype)} M={m} N={n} K={k}{' with bias' if i % 2 else ''}"
            yield Product(words, x, weight, bias)


@check(
    "ops.linear",
    "x W^T + b at odd shapes, empty, three-dimensional and not contiguous",
    covers=("linear", "prepare_linear"),
)
def linear(context: Context) -> None:
    for dtype in context.dtypes:
        for product in _sweep(dtype, quick=context.quick):
            product.verify(context)
        weight = inputs.normal(33, 17, dtype=dtype, seed=2)
        shapes = {"no rows": (0, 17), "three dimensions": (2, 3, 17), "one dimension": (17,)}
        for words, shape in shapes.items():
            Product(f"{_name(dtype)} {words}", inputs.normal(*shape, dtype=dtype), weight).verify(
                context
            )
        _strided(context, dtype)


def _strided(context: Context, dtype: torch.dtype) -> None:
    weight = inputs.normal(33, 17, dtype=dtype, seed=2)
    wide = inputs.normal(9, 34, dtype=dtype, seed=4)
    views: dict[str, Callable[[Tensor], Tensor]] = {
        "every other column": lambda x: x[:, ::2],
        "transposed": lambda x: x[:, :9].T.contiguous().T.repeat(1, 2)[:, :17],
        "rows apart": lambda x: x[::2, :17],
    }
    prepared = context.ops.prepare_linear(context.put(weight.clone()))
    for words, view in views.items():
        with context.case(f"{_name(dtype)} {words}"):
            x = view(context.put(wide))
            want = expected.linear(view(wide), weight)
            context.verify(lambda x: context.ops.linear(x, prepared), want, dtype=dtype, given=(x,))


@check("ops.linear_sums", "sums are kept in float32: long ones, and exact ones of whole numbers")
def long_sums(context: Context) -> None:
    lengths = (512, 4096) if context.quick else (512, 1536, 4096, 11_008)
    for dtype in context.dtypes:
        for k in lengths:
            for m in (1, 5, 40):
                x = inputs.normal(m, k, dtype=dtype, seed=5)
                weight = inputs.normal(67, k, dtype=dtype, seed=6)
                Product(f"{_name(dtype)} M={m} K={k}", x, weight).verify(context)
                x = inputs.positive(m, k, dtype=dtype, seed=7)
                weight = inputs.positive(67, k, dtype=dtype, seed=8)
                Product(f"{_name(dtype)} M={m} K={k}, all positive", x, weight).verify(context)
        exact_sums(context, dtype)


def exact_sums(context: Context, dtype: torch.dtype) -> None:
    """Whole numbers whose sums float32 holds exactly, in any order: only the result is rounded."""
    high = {torch.float32: 4095, torch.float16: 15, torch.bfloat16: 127}.get(dtype, 15)
    for m, k in ((1, 512), (3, 512), (17, 512), (70, 512)):
        x = inputs.integers(m, k, low=-high, high=high, dtype=dtype, seed=9)
        weight = inputs.integers(45, k, low=-7, high=7, dtype=dtype, seed=10)
        Product(f"{_name(dtype)} M={m} K={k}, whole numbers", x, weight).verify(context)
    x = torch.ones(2, 1025).to(dtype)
    weight = torch.ones(9, 1025).to(dtype)
    weight[:, 0] = 4096
    Product(f"{_name(dtype)} one large term and 1024 small ones", x, weight).verify(context)


@check("ops.linear_vocabulary", "logits over 248,320 tokens, one row and several", seconds=120)
def vocabulary(context: Context) -> None:
    k = 64 if context.quick else 256
    for dtype in context.dtypes:
        weight = inputs.normal(_VOCABULARY, k, dtype=dtype, seed=11)
        for m in (1, 3) if context.quick else (1, 2, 3, 9):
            x = inputs.normal(m, k, dtype=dtype, seed=12)
            Product(f"{_name(dtype)} M={m} N={_VOCABULARY} K={k}", x, weight).verify(context)
        if not context.quick:
            _large_head(context, dtype)


@check("ops.logits", "logits are products in float32", covers=("logits",))
def logits(context: Context) -> None:
    for dtype in context.dtypes:
        for m, n, k in ((1, 1000, 96), (4, 67, 256)):
            x = inputs.normal(m, k, dtype=dtype, seed=19)
            weight = inputs.normal(n, k, dtype=dtype, seed=20)
            want = expected.linear(x, weight)
            with context.case(f"{_name(dtype)} M={m} N={n} K={k}"):
                given = context.put(x), context.ops.prepare_linear(context.put(weight))
                context.verify(
                    partial(_rounded_logits, context, dtype), want, dtype=dtype, given=given
                )


def _rounded_logits(context: Context, dtype: torch.dtype, x: Tensor, weight: Any) -> Tensor:
    got = context.ops.logits(x, weight)
    if got.dtype != torch.float32:
        raise Mismatch(f"logits are {got.dtype}, not float32")
    return got.to(dtype)


def _large_head(context: Context, dtype: torch.dtype) -> None:
    """The head of a large model, whose rows repeat so that the reference stays small."""
    k, different = 5120, 1021
    size = _VOCABULARY * k * dtype.itemsize
    if context.hardware.memory().free < 5 * size:
        return
    rows = torch.arange(_VOCABULARY) % different
    base = inputs.normal(different, k, dtype=dtype, seed=15)
    x = inputs.normal(1, k, dtype=dtype, seed=16)
    few = expected.linear(x, base)
    want = Expected(few.values[:, rows], few.bound[:, rows])
    with context.case(f"{_name(dtype)} M=1 N={_VOCABULARY} K={k}"):
        weight = context.ops.prepare_linear(context.put(base)[context.put(rows)])
        context.verify(context.ops.linear, want, dtype=dtype, given=(context.put(x), weight))


@check(
    "ops.linear_quantized",
    "products with weights of 4 and 8 bits; activations may be rounded to 8 bits",
    covers=("prepare_quantized",),
)
def quantized(context: Context) -> None:
    for text in _FORMATS:
        format = WeightFormat.parse(text)
        assert format is not None
        for dtype in context.dtypes:
            for m, (n, k) in ((1, (67, 256)), (5, (33, 384)), (40, (16, 100))):
                x = inputs.normal(m, k, dtype=dtype, seed=17)
                held = quantize(inputs.normal(n, k, seed=18), format)
                with context.case(f"{_name(dtype)} {text} M={m} N={n} K={k}"):
                    weight = context.ops.prepare_quantized(held.to(context.device))
                    want = expected.quantized_linear(x, held.dequantize(), format.group_size)
                    given = context.put(x), weight
                    context.verify(context.ops.linear, want, dtype=dtype, given=given)


@check(
    "ops.linear_prepared",
    "a weight quantised while loading and one that comes so give the same bits",
    covers=("prepare_linear", "prepare_quantized"),
)
def prepared(context: Context) -> None:
    for text in _FORMATS:
        format = WeightFormat.parse(text)
        assert format is not None
        values = inputs.normal(67, 256, seed=18)
        for dtype in context.dtypes:
            x = context.put(inputs.normal(5, 256, dtype=dtype, seed=17))
            stored = values.to(dtype)
            with context.case(f"{_name(dtype)} {text}"):
                ops = context.ops
                here = ops.linear(x, ops.prepare_linear(context.put(stored), format))
                held = quantize(stored, format).to(context.device)
                if not torch.equal(here, ops.linear(x, ops.prepare_quantized(held))):
                    raise Mismatch("other bits than prepare_linear of the same weight and format")


@check("ops.linear_nan", "NaN and infinity in a row reach the results of that row, and no other")
def nan_rows(context: Context) -> None:
    for dtype in context.dtypes:
        for value in (float("nan"), float("inf")):
            for m in (3, 40):
                x = inputs.normal(m, 64, dtype=dtype, seed=13)
                x[1, 5] = value
                weight = inputs.positive(33, 64, dtype=dtype, seed=14)
                clean = expected.linear(x.nan_to_num(0.0, 0.0, 0.0), weight)
                clean.values[1] = value
                with context.case(f"{_name(dtype)} {value} in one of {m} rows"):
                    Product("", x, weight).compare(context, clean)
