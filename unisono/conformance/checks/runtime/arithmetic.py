"""Numbers: wide integers, casts, infinities and NaN."""

from __future__ import annotations

import math

import torch

from unisono.conformance.context import Context
from unisono.conformance.registry import check
from unisono.conformance.reproductions.scripts import expect


def wide_integers(device: torch.device) -> None:
    """int64 is computed in 64 bits."""
    x = torch.tensor([2**32, 2**32 + 1, 2**40 + 7, -(2**35), 2**53 + 1, 3])
    y = torch.tensor([1, 5, 2**33, 2**34 + 3, 2, 2**31])
    for name, op in (
        ("+", lambda a, b: a + b),
        ("-", lambda a, b: a - b),
        ("*", lambda a, b: a * b),
        ("//", lambda a, b: a // b),
        ("%", lambda a, b: a % b),
        ("<", lambda a, b: (a < b).long()),
        ("cumsum", lambda a, b: (a + b).cumsum(0)),
        ("sum", lambda a, b: (a + b).sum()),
        ("amax", lambda a, b: torch.maximum(a, b).amax()),
        ("where", lambda a, b: torch.where(a > b, a, b)),
        ("scalar", lambda a, b: a * 3 + 2**33),
    ):
        got, want = op(x.to(device), y.to(device)).cpu(), op(x, y)
        expect(got.dtype == want.dtype, f"int64 {name} gives {got.dtype}")
        expect(torch.equal(got, want), f"int64 {name}: {got.tolist()} instead of {want.tolist()}")
    counted = torch.arange(2**33, 2**33 + 5, device=device)
    expect(counted.cpu().tolist() == list(range(2**33, 2**33 + 5)), "arange beyond 2^32")
    expect(torch.full((2,), 2**40, device=device).tolist() == [2**40] * 2, "full beyond 2^32")
    expect(x.to(device).sort().values.tolist() == sorted(x.tolist()), "sort of int64")


def small_integers(device: torch.device) -> None:
    """Narrow integers wrap, booleans count."""
    x = torch.tensor([100, 27, -128, 127], dtype=torch.int8)
    expect(torch.equal((x.to(device) + x.to(device)).cpu(), x + x), "int8 does not wrap")
    flags = torch.tensor([True, False, True, True])
    expect(int(flags.to(device).sum()) == 3, "the sum of booleans")
    both = (flags.to(device) & ~flags.flip(0).to(device)).cpu()
    expect(torch.equal(both, flags & ~flags.flip(0)), "boolean algebra")
    shifted = torch.arange(16).to(device)
    expect(torch.equal((shifted // 3).cpu(), torch.arange(16) // 3), "floor division")
    expect(torch.equal((-shifted // 3).cpu(), -torch.arange(16) // 3), "floor division below 0")


@check("runtime.integers", "int64 beyond 2^32, wrapping, booleans")
def integers(context: Context) -> None:
    context.probe("int64", wide_integers)
    context.probe("narrow integers", small_integers)


def nearest_even(device: torch.device) -> None:
    """float32 to 16 bits rounds to the nearest, ties to even."""
    steps = torch.arange(4096).float()
    for dtype, fraction in ((torch.bfloat16, 7), (torch.float16, 10)):
        x = torch.cat((1 + steps * 2.0 ** -(fraction + 3), -3 - steps * 2.0 ** -(fraction + 2)))
        got, want = x.to(device).to(dtype).cpu(), x.to(dtype)
        wrong = int((got != want).sum())
        expect(wrong == 0, f"{wrong} of {len(x)} casts to {dtype} are not to the nearest even")
        small = (x * 0.0103).to(dtype)
        added, times = want.to(device) + small.to(device), want.to(device) * small.to(device)
        for words, got, exact in (
            ("sums", added, want.double() + small.double()),
            ("products", times, want.double() * small.double()),
        ):
            off = (got.cpu().double() - exact).abs() / exact.abs()
            expect(float(off.max()) <= 2.0 ** -(fraction + 1), f"{words} in {dtype} are off")
        expect(torch.equal(want.to(device).float().cpu(), want.float()), f"{dtype} to float32")


def beyond_the_range(device: torch.device) -> None:
    """Numbers that are too large become infinite, what is not a number stays none."""
    x = torch.tensor([65_504.0, 65_519.0, 65_520.0, -1e6, 1e30, math.inf, -math.inf, math.nan])
    for dtype in (torch.float16, torch.bfloat16):
        got, want = x.to(device).to(dtype).float().cpu(), x.to(dtype).float()
        same = (got == want) | (got.isnan() & want.isnan())
        expect(bool(same.all()), f"cast to {dtype}: {got.tolist()} instead of {want.tolist()}")
    tiny = torch.tensor([6e-8, 3e-6, 2.9e-8, -4e-5])
    got = tiny.to(device).to(torch.float16).cpu()
    expect(torch.equal(got, tiny.to(torch.float16)), "small float16 numbers are lost in a cast")


def to_integers(device: torch.device) -> None:
    """Casts to integers cut towards zero, and bool means other than zero."""
    x = torch.tensor([1.9, -1.9, 0.5, -0.5, 2.0**24, 100_000.7, 0.0])
    expect(torch.equal(x.to(device).long().cpu(), x.long()), "float32 to int64")
    expect(torch.equal(x.to(device).int().cpu(), x.int()), "float32 to int32")
    expect(torch.equal(x.to(device).bool().cpu(), x.bool()), "float32 to bool")
    n = torch.tensor([2**24 + 1, -7, 0, 2**31 + 3])
    expect(torch.equal(n.to(device).float().cpu(), n.float()), "int64 to float32")
    expect(torch.equal(n.to(device).int().cpu()[1:3], n.int()[1:3]), "int64 to int32")


@check("runtime.casts", "casts round to the nearest even, overflow to infinity, cut to integers")
def casts(context: Context) -> None:
    some = not context.has_all_floats
    context.probe("to 16 bits", nearest_even, optional=some)
    context.probe("beyond the range", beyond_the_range, optional=some)
    context.probe("to integers", to_integers)


def nan_stays(device: torch.device) -> None:
    """NaN comes out of every op that it goes into."""
    x = torch.tensor([1.0, math.nan, -2.0, 0.0])
    d = x.to(device)
    results = {
        "+": (d + 1, x + 1),
        "* 0": (d * 0, x * 0),
        "/": (d / 2, x / 2),
        "maximum": (torch.maximum(d, torch.zeros_like(d)), torch.maximum(x, torch.zeros(4))),
        "minimum": (torch.minimum(d, torch.zeros_like(d)), torch.minimum(x, torch.zeros(4))),
        "clamp": (d.clamp(-1, 1), x.clamp(-1, 1)),
        "relu": (d.relu(), x.relu()),
        "exp": (d.exp(), x.exp()),
        "tanh": (d.tanh(), x.tanh()),
        "abs": (d.abs(), x.abs()),
        "neg": (-d, -x),
        "silu": (torch.nn.functional.silu(d), torch.nn.functional.silu(x)),
        "amax": (d.amax(), x.amax()),
        "sum": (d.sum(), x.sum()),
        "mean": (d.mean(), x.mean()),
        "softmax": (d.softmax(0), x.softmax(0)),
        "matrix product": (d.view(2, 2) @ d.view(2, 2), x.view(2, 2) @ x.view(2, 2)),
        "isnan": (d.isnan(), x.isnan()),
        "isfinite": (d.isfinite(), x.isfinite()),
        "== itself": (d == d, x == x),
        "!= itself": (d != d, x != x),
        "cumsum": (d.cumsum(0), x.cumsum(0)),
        "where": (torch.where(d > 0, d, d), x),
        "copy": (d.clone(), x),
    }
    for name, (got, want) in results.items():
        agree = got.cpu().isnan() == want.isnan() if want.is_floating_point() else got.cpu() == want
        expect(bool(agree.all()), f"NaN is lost or invented by {name}: {got.tolist()}")


def infinity_stays(device: torch.device) -> None:
    """Infinities are numbers like others. How near finite results are is not asked here."""
    x = torch.tensor([math.inf, -math.inf, 3e38, -3e38, 1.0])
    d = x.to(device)
    results = {
        "+": (d + 1, x + 1),
        "* 2": (d * 2, x * 2),
        "exp": (d.exp(), x.exp()),
        "1 /": (1 / d, 1 / x),
        "maximum": (torch.maximum(d, -d), torch.maximum(x, -x)),
        "amax": (d.amax(), x.amax()),
        "amin": (d.amin(), x.amin()),
        "inf - inf": ((d - d).isnan(), (x - x).isnan()),
        "0 * inf": ((d * 0).isnan(), (x * 0).isnan()),
        "tanh": (d.tanh(), x.tanh()),
        "sigmoid": (d.sigmoid(), x.sigmoid()),
        "isinf": (d.isinf(), x.isinf()),
        "sort": (d.sort().values, x.sort().values),
        "softmax": (d[1:].softmax(0), x[1:].softmax(0)),
        "masked_fill": (d.masked_fill(d > 0, -math.inf), x.masked_fill(x > 0, -math.inf)),
        "log": (d.abs().log().isinf(), x.abs().log().isinf()),
        "copy": (d.clone(), x),
    }
    for name, (got, want) in results.items():
        same = torch.isclose(got.cpu().float(), want.float(), rtol=1e-2, atol=1e-37, equal_nan=True)
        expect(bool(same.all()), f"{name}: {got.tolist()} instead of {want.tolist()}")


@check("runtime.nan", "NaN and infinity go through elementwise ops and reductions")
def nan_policy(context: Context) -> None:
    context.probe("NaN", nan_stays)
    context.probe("infinity", infinity_stays)
