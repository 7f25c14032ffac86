"""Norms, rotary positions, and the embedding."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from unisono.conformance import inputs
from unisono.conformance.context import Context
from unisono.conformance.expected import plain as expected
from unisono.conformance.expected.bounds import U32, unit_roundoff
from unisono.conformance.expected.comparing import Expected, exactly
from unisono.conformance.expected.math_apis import absolute_error
from unisono.conformance.registry import check

_EPS = 1e-6


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


@check("ops.rms_norm", "odd widths, small and large values, views, NaN", covers=("rms_norm",))
def rms_norm(context: Context) -> None:
    shapes = [(1, 64), (5, 3, 96), (2, 1), (7, 129), (33, 4096), (0, 16), (1, 5120)]
    for dtype in context.dtypes:
        for shape in shapes:
            with context.case(f"{_name(dtype)} {list(shape)}"):
                _norm(context, inputs.normal(*shape, dtype=dtype), _EPS)
        for words, factor in (("tiny", 1e-4), ("large", 3e3)):
            with context.case(f"{_name(dtype)} {words} values"):
                _norm(context, (inputs.normal(3, 128) * factor).to(dtype), _EPS)
        with context.case(f"{_name(dtype)} zeros"):
            _norm(context, torch.zeros(2, 64, dtype=dtype), _EPS)
        with context.case(f"{_name(dtype)} a large eps"):
            _norm(context, inputs.normal(3, 64, dtype=dtype), 0.5)
        with context.case(f"{_name(dtype)} every other column"):
            wide, weight = inputs.normal(4, 130, dtype=dtype), inputs.positive(65, dtype=dtype)
            want = expected.rms_norm(wide[:, ::2], weight, _EPS)
            x, on_device = context.put(wide)[:, ::2], context.put(weight)
            context.verify(
                lambda x, w: context.ops.rms_norm(x, w, _EPS),
                want,
                given=(
                    x,
                    on_device,
                ),
            )
        with context.case(f"{_name(dtype)} NaN in one row"):
            x = inputs.normal(4, 64, dtype=dtype)
            x[2, 7] = torch.nan
            _norm(context, x, _EPS)
        with context.case(f"{_name(dtype)} a float32 weight"):
            _norm(context, inputs.normal(3, 96, dtype=dtype), _EPS, torch.float32)


def _norm(context: Context, x: Tensor, eps: float, dtype: torch.dtype | None = None) -> None:
    weight = inputs.positive(x.shape[-1], dtype=dtype or x.dtype, seed=1)
    on_device = context.put(x), context.put(weight)
    want = expected.rms_norm(x, weight, eps)
    context.verify(lambda: context.ops.rms_norm(*on_device, eps), want, dtype=x.dtype)


@check(
    "ops.layer_norm", "odd widths, a large mean, with and without a bias", covers=("layer_norm",)
)
def layer_norm(context: Context) -> None:
    for dtype in context.dtypes:
        cases = {
            "[1, 64]": inputs.normal(1, 64, dtype=dtype),
            "[5, 3, 96]": inputs.normal(5, 3, 96, dtype=dtype),
            "[7, 129]": inputs.normal(7, 129, dtype=dtype),
            "[3, 4096]": inputs.normal(3, 4096, dtype=dtype),
            "[0, 16]": inputs.normal(0, 16, dtype=dtype),
            "a mean of 30": (inputs.normal(3, 256) + 30).to(dtype),
        }
        for words, x in cases.items():
            weight, bias = (inputs.normal(x.shape[-1], seed=s) for s in (1, 2))
            for of_weight in {dtype, torch.float32}:
                for own_bias in (None, bias.to(of_weight)):
                    tensors = x, weight.to(of_weight), own_bias
                    on_device = [None if t is None else context.put(t) for t in tensors]
                    label = f"{_name(dtype)} {words}, {_name(of_weight)} weight"
                    with context.case(label + ("" if own_bias is None else ", a bias")):
                        want = expected.layer_norm(*tensors, _EPS)
                        context.verify(
                            lambda d: context.ops.layer_norm(*d, _EPS),
                            want,
                            dtype=dtype,
                            given=(on_device,),
                        )


@check("ops.add_rms_norm", "with and without a residual stream", covers=("add_rms_norm",))
def add_rms_norm(context: Context) -> None:
    for dtype in context.dtypes:
        for shape in ((4, 32), (1, 4096), (17, 65)):
            x, residual = (inputs.normal(*shape, dtype=dtype, seed=s) for s in (1, 2))
            weight = inputs.positive(shape[-1], dtype=dtype, seed=3)
            on_device = [context.put(tensor) for tensor in (x, residual, weight)]
            for words, stream, device_stream in (
                ("a residual stream", residual, on_device[1]),
                ("none", None, None),
            ):
                with context.case(f"{_name(dtype)} {list(shape)}, {words}"):
                    want = expected.add_rms_norm(x, stream, weight, _EPS)

                    def run(d: list[Tensor] = on_device, s: Tensor | None = device_stream) -> Any:
                        return context.ops.add_rms_norm(d[0].clone(), s, d[2], _EPS)

                    context.verify(run, want, dtype=(dtype, dtype))


@check("ops.rope", "a rotation of pairs, whole heads and parts of them", covers=("rope",))
def rope(context: Context) -> None:
    for dtype in context.dtypes:
        for size, rotary in ((64, 64), (128, 128), (80, 32), (256, 64), (96, 96)):
            x = inputs.normal(5, 3, size, dtype=dtype, seed=1)
            angles = torch.rand(5, rotary // 2, generator=torch.Generator().manual_seed(2)) * 6
            cos, sin = angles.cos(), angles.sin()
            want = expected.rope(x, cos, sin)
            on_device = [context.put(tensor) for tensor in (x, cos, sin)]
            for words, inference in (("", True), (", differentiable", False)):
                with context.case(f"{_name(dtype)} {rotary} of {size}{words}"):

                    def run(d: list[Tensor] = on_device, inference: bool = inference) -> Tensor:
                        with torch.inference_mode(inference):
                            return context.ops.rope(*d)

                    context.verify(run, want, dtype=dtype)
        with context.case(f"{_name(dtype)} NaN in one token"):
            x = inputs.normal(5, 3, 64, dtype=dtype, seed=1)
            x[2] = torch.nan
            cos, sin = torch.full((5, 32), 0.6), torch.full((5, 32), 0.8)
            on_device = [context.put(tensor) for tensor in (x, cos, sin)]
            want = expected.rope(x, cos, sin)
            context.verify(lambda d: context.ops.rope(*d), want, dtype=dtype, given=(on_device,))


@check("ops.rope_angles", "cos and sin of positions up to a million, on the device itself")
def rope_angles(context: Context) -> None:
    """The product of position and frequency is one rounding, the same on any device; cos and sin
    are as near to those of that very angle as the device's interface says."""
    from unisono.models.config import RopeConfig
    from unisono.models.layers.rope import Rope

    positions = torch.tensor(
        [0, 1, 2, 3, 127, 4095, 4096, 32_767, 65_536, 131_071, 262_143, 999_999]
    )
    for theta in (10_000.0, 1_000_000.0):
        config = RopeConfig(theta=theta, rotary_dim=128, max_position=1 << 20, scaling={})
        host, on_device = Rope(config, torch.device("cpu")), Rope(config, context.device)
        angles = positions.float().unsqueeze(1) * host.frequencies
        with context.case(f"theta {theta:g}"):
            bound = torch.full(angles.shape, absolute_error("cos"), dtype=torch.float64)
            want = tuple(
                Expected(turned, bound) for turned in (angles.double().cos(), angles.double().sin())
            )
            places = context.put(positions)
            context.verify(
                lambda r, p: r(p),
                want,
                dtype=torch.float32,
                given=(
                    on_device,
                    places,
                ),
            )


@check("ops.rotary_heads", "heads split, normed and rotated", covers=("rotary_heads",))
def rotary_heads(context: Context) -> None:
    for dtype in context.dtypes:
        for heads, kv_heads, size, normed in (
            (4, 2, 64, True),
            (3, 1, 80, False),
            (8, 8, 128, True),
        ):
            qkv = inputs.normal(7, (heads + 2 * kv_heads) * size, dtype=dtype, seed=1)
            angles = torch.rand(7, size // 2, generator=torch.Generator().manual_seed(2)) * 6
            norms = [inputs.positive(size, dtype=dtype, seed=s) for s in (3, 4)] if normed else None
            words = f"{heads}+{kv_heads} heads of {size}{', normed' if normed else ''}"
            with context.case(f"{_name(dtype)} {words}"):
                want = _split_heads(qkv, heads, kv_heads, angles, norms)
                turned = context.put(angles.cos()), context.put(angles.sin())
                weights = None if norms is None else (*map(context.put, norms), _EPS)
                on_device = context.put(qkv)

                def run(a: Any = (on_device, heads, kv_heads, turned, weights)) -> Any:
                    with torch.inference_mode():
                        return context.ops.rotary_heads(*a)

                context.verify(run, want, dtype=(dtype, dtype, dtype))


def _split_heads(
    qkv: Tensor, heads: int, kv_heads: int, angles: Tensor, norms: list[Tensor] | None
) -> tuple[Expected, ...]:
    split = qkv.view(qkv.shape[0], heads + 2 * kv_heads, -1)
    parts = split[:, :heads], split[:, heads : heads + kv_heads]
    rotated = []
    for i, part in enumerate(parts):
        if norms is None:
            rotated.append(expected.rope(part, angles.cos(), angles.sin()))
        else:
            normed = expected.rms_norm(part, norms[i], _EPS)
            rotated.append(_rotate(normed, angles, qkv.dtype))
    return (*rotated, exactly(split[:, heads + kv_heads :]))


def _rotate(x: Expected, angles: Tensor, dtype: torch.dtype) -> Expected:
    """A rotation of values that are off already: the errors turn with them."""
    turned = expected.rope(x.values, angles.cos(), angles.sin()).values
    cos, sin = (f(angles.double()).abs().unsqueeze(1) for f in (torch.cos, torch.sin))
    first, second = x.bound.chunk(2, -1)
    carried = torch.cat((first * cos + second * sin, second * cos + first * sin), -1)
    low, high = x.values.abs().chunk(2, -1)
    sizes = torch.cat((low * cos + high * sin, high * cos + low * sin), -1)
    u = unit_roundoff(dtype)
    return Expected(turned, carried * (1 + u) + 2 * U32 * sizes + u * turned.abs())


@check("ops.embedding", "first, last and repeated rows of large tables", covers=("embedding",))
def embedding(context: Context) -> None:
    for dtype in context.dtypes:
        for rows, width in ((7, 5), (70_001, 16), (248_320, 8)):
            table = inputs.normal(rows, width, dtype=dtype, seed=1)
            ids = torch.tensor([0, rows - 1, 1, rows - 1, rows // 2, 0, min(65_536, rows - 2)])
            for words, own in (("", ids), (", one token", ids[1:2]), (", none", ids[:0])):
                with context.case(f"{_name(dtype)} {rows} rows{words}"):
                    on_device = context.put(own), context.put(table)
                    want = exactly(table[own])
                    context.verify(
                        lambda d: context.ops.embedding(*d), want, dtype=dtype, given=(on_device,)
                    )
