"""Activations, alone and gated."""

from __future__ import annotations

import torch
from torch import Tensor

from unisono.conformance import inputs
from unisono.conformance.context import Context
from unisono.conformance.expected import plain as expected
from unisono.conformance.registry import check
from unisono.hardware.ops.activations import ACTIVATIONS


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


@check("ops.silu_mul", "over the whole range of exp, odd widths, NaN", covers=("silu_mul",))
def silu_mul(context: Context) -> None:
    for dtype in context.dtypes:
        cases = {
            "[3, 34]": inputs.normal(3, 34, dtype=dtype),
            "[33, 2 x 1408]": inputs.normal(33, 2816, dtype=dtype),
            "[0, 8]": inputs.normal(0, 8, dtype=dtype),
            "gates from -80 to 80": _gates(80.0, dtype),
            "gates from -3 to 3": _gates(3.0, dtype),
            "zeros": torch.zeros(2, 8, dtype=dtype),
        }
        spoiled = inputs.normal(4, 64, dtype=dtype)
        spoiled[1, 3], spoiled[2, 40] = torch.nan, torch.inf
        cases["NaN and infinity in one entry each"] = spoiled
        for words, x in cases.items():
            with context.case(f"{_name(dtype)} {words}"):
                on_device = context.put(x)
                want = expected.silu_mul(x)
                context.verify(
                    lambda x: context.ops.silu_mul(x), want, dtype=dtype, given=(on_device,)
                )


def _gates(limit: float, dtype: torch.dtype) -> Tensor:
    gate = torch.linspace(-limit, limit, 321)
    return torch.cat((gate, torch.full((321,), 1.5))).to(dtype).unsqueeze(0)


@check("ops.act", "each activation from -80 to 80, NaN", covers=("act",))
def act(context: Context) -> None:
    for dtype in context.dtypes:
        wide = torch.linspace(-80.0, 80.0, 321).to(dtype).unsqueeze(0)
        narrow = torch.linspace(-6.0, 6.0, 481).to(dtype).unsqueeze(0)
        spoiled = inputs.normal(4, 64, dtype=dtype)
        spoiled[1, 3] = torch.nan
        for kind in ACTIVATIONS:
            for words, x in (("wide", wide), ("narrow", narrow), ("NaN in one entry", spoiled)):
                with context.case(f"{_name(dtype)} {kind}, {words}"):
                    on_device = context.put(x)
                    want = expected.act(x, kind)
                    context.verify(
                        lambda k, x: context.ops.act(x, k),
                        want,
                        dtype=dtype,
                        given=(kind, on_device),
                    )


@check("ops.act_mul", "each activation of one half times the other", covers=("act_mul",))
def act_mul(context: Context) -> None:
    for dtype in context.dtypes:
        for kind in (*ACTIVATIONS, "clamped_swiglu"):
            for words, x in (
                ("[33, 2 x 1408]", inputs.normal(33, 2816, dtype=dtype)),
                ("gates from -80 to 80", _gates(80.0, dtype)),
            ):
                with context.case(f"{_name(dtype)} {kind}, {words}"):
                    on_device = context.put(x)
                    want = expected.act_mul(x, kind)
                    context.verify(
                        lambda k, x: context.ops.act_mul(x, k),
                        want,
                        dtype=dtype,
                        given=(kind, on_device),
                    )
