"""Sorting, indexing, layouts and large tensors: what moves numbers and must not change them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from unisono.conformance import inputs
from unisono.conformance.context import Context
from unisono.conformance.expected.comparing import Mismatch, exactly
from unisono.conformance.registry import check


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


@check("ops.sorting", "sort and topk: values in order, and indices that belong to them")
def sorting(context: Context) -> None:
    for size in (1, 2, 17, 1000, 65_537, 151_936):
        for words, x in (
            ("", inputs.normal(3, size, seed=1)),
            (", equal ones", (inputs.normal(3, size, seed=2) * 3).round()),
        ):
            with context.case(f"sort {size}{words}"):
                _ordered(context, x, _descending, size)
            for k in (1, 50, 128):
                if k <= size:
                    with context.case(f"topk {k} of {size}{words}"):
                        _ordered(context, x, partial(torch.topk, k=k), k)
    with context.case("a stable sort keeps the order of equals"):
        x = (inputs.normal(3, 999, seed=5) * 2).round()
        want = exactly(x.sort(dim=-1, stable=True).indices)
        context.verify(
            lambda x: x.sort(dim=-1, stable=True).indices,
            want,
            dtype=torch.int64,
            given=(context.put(x),),
        )
    with context.case("sort with infinities"):
        x = inputs.normal(2, 100, seed=3)
        x[:, ::7] = -torch.inf
        _ordered(context, x, _descending, 100)


def _descending(x: Tensor) -> Any:
    return x.sort(dim=-1, descending=True)


def _ordered(context: Context, x: Tensor, run: Callable[[Tensor], Any], count: int) -> None:
    on_device = context.put(x)
    values = x.sort(dim=-1, descending=True).values[:, :count]
    context.verify(lambda: run(on_device)[0], exactly(values), dtype=x.dtype)
    context.examine(run, lambda got: _check_indices(x, values, got[1].cpu()), given=(on_device,))


def _check_indices(x: Tensor, values: Tensor, indices: Tensor) -> None:
    if bool((indices < 0).any() or (indices >= x.shape[1]).any()):
        raise Mismatch("an index is out of range")
    if not torch.equal(x.gather(1, indices), values):
        raise Mismatch("the indices do not belong to the values")
    if any(len(set(row)) != len(row) for row in indices.tolist()):
        raise Mismatch("an index is given twice")


@check("ops.indexing", "reading and writing by index: small, large, repeated, at the ends")
def indexing(context: Context) -> None:
    for rows, width in ((11, 3), (70_001, 4), (200_003, 2)):
        x = inputs.normal(rows, width, seed=1)
        ids = torch.tensor([0, rows - 1, rows // 2, 1, rows - 2, min(65_536, rows - 3)])
        new = inputs.normal(len(ids), width, seed=2)
        on = [context.put(tensor) for tensor in (x, ids, new)]
        spread = ids.unsqueeze(1).expand(-1, width)
        cases: dict[str, tuple[Callable[..., Tensor], Tensor]] = {
            "index_select": (lambda x, i, n: x.index_select(0, i), x[ids]),
            "index": (lambda x, i, n: x[i], x[ids]),
            "gather": (lambda x, i, n: x.gather(0, i.unsqueeze(1).expand(-1, x.shape[1])), x[ids]),
            "index_copy": (
                lambda x, i, n: x.index_copy(0, i, n),
                x.clone().index_copy(0, ids, new),
            ),
            "index_add": (
                lambda x, i, n: x.index_add(0, i, n),
                x.double().index_add(0, ids, new.double()).float(),
            ),
            "index_put": (lambda x, i, n: _put(x, i, n), _put(x, ids, new)),
            "scatter": (
                lambda x, i, n: x.scatter(0, i.unsqueeze(1).expand(-1, x.shape[1]), n),
                x.scatter(0, spread, new),
            ),
        }
        for name, (function, want) in cases.items():
            with context.case(f"{name} of {rows} rows"):
                context.verify(
                    lambda f, on: f(*on),
                    exactly(want),
                    dtype=x.dtype,
                    given=(
                        function,
                        on,
                    ),
                )
    _joining(context)


def _put(x: Tensor, ids: Tensor, new: Tensor) -> Tensor:
    changed = x.clone()
    changed[ids] = new
    return changed


def _joining(context: Context) -> None:
    x, other = inputs.normal(33, 65, seed=3), inputs.normal(7, 65, seed=4)
    on = context.put(x), context.put(other)
    cases: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "cat": lambda a, b: torch.cat((a, b, a)),
        "cat with an empty one": lambda a, b: torch.cat((a[:0], b)),
        "stack": lambda a, b: torch.stack((a[:7], b)),
        "roll": lambda a, b: a.roll(32, dims=-1),
        "pad": lambda a, b: F.pad(a, (0, 63), value=float("-inf")),
        "masked_fill": lambda a, b: a.masked_fill(a < 0, float("-inf")),
        "where": lambda a, b: torch.where(a > 0, a, 0.0),
        "boolean index": lambda a, b: a[a > 1.0],
        "tril": lambda a, b: a.tril(3),
        "flip": lambda a, b: a.flip(0),
        "repeat_interleave": lambda a, b: b.repeat_interleave(3, 0),
        "clamp": lambda a, b: a.clamp(-0.5, 0.5),
        "maximum": lambda a, b: torch.maximum(a[:7], b),
        "round": lambda a, b: (a * 4).round(),
    }
    for name, function in cases.items():
        with context.case(name):
            want = exactly(function(x, other))
            context.verify(lambda f: f(*on), want, dtype=torch.float32, given=(function,))
    with context.case("arange, comparisons and counts"):
        want = exactly((torch.arange(70_001) % 7 == 3).long().cumsum(0))
        device = context.device
        context.verify(
            lambda: (torch.arange(70_001, device=device) % 7 == 3).long().cumsum(0),
            want,
            dtype=torch.int64,
        )


@check("ops.layouts", "tensors that are transposed, strided, expanded or offset are read as such")
def layouts(context: Context) -> None:
    x = inputs.normal(34, 66, seed=1)
    on_device = context.put(x)
    views: dict[str, Callable[[Tensor], Tensor]] = {
        "transposed": lambda t: t.T,
        "every other column": lambda t: t[:, ::2],
        "every other row": lambda t: t[::2],
        "an offset": lambda t: t[3:, 5:],
        "one column": lambda t: t[:, 7],
        "expanded": lambda t: t[:, :1].expand(-1, 9),
        "permuted": lambda t: t.view(2, 17, 66).permute(2, 0, 1),
        "unfolded": lambda t: t.as_strided((30, 8), (66, 2), 4),
    }
    uses: dict[str, Callable[[Tensor], Tensor]] = {
        "copied": lambda t: t.contiguous(),
        "negated": lambda t: -t,
        "doubled": lambda t: t + t,
        "as the maximum": lambda t: t.amax(-1),
        "compared": lambda t: (t > 0).float(),
        "cast": lambda t: t.double().float() if t.device.type == "cpu" else t.to(torch.float32) * 1,
        "filled": lambda t: torch.zeros_like(t).copy_(t),
        "flattened": lambda t: t.reshape(-1),
    }
    for seen, view in views.items():
        for used, use in uses.items():
            with context.case(f"{seen}, {used}"):
                want = exactly(use(view(x)))
                context.verify(
                    lambda v, u: u(v(on_device)),
                    want,
                    dtype=torch.float32,
                    given=(
                        view,
                        use,
                    ),
                )
        with context.case(f"{seen}, written to"):
            changed = x.clone()
            view(changed).copy_(view(x) * 2) if seen != "expanded" else None

            def write(view: Callable[[Tensor], Tensor] = view, seen: str = seen) -> Tensor:
                mine = on_device.clone()
                if seen != "expanded":
                    view(mine).copy_(view(on_device) * 2)
                return mine

            context.verify(write, exactly(changed), dtype=torch.float32)


@check("ops.large", "tensors of tens of millions of entries, to the last one", seconds=120)
def large(context: Context) -> None:
    for dtype, size in ((torch.float32, 2**22 + 3), (torch.bfloat16, 2**24 + 5)):
        if dtype == torch.bfloat16 and "bfloat16" not in context.hardware.facts.dtypes:
            continue
        with context.case(f"{_name(dtype)}, {size} entries"):
            _large(context, size, dtype)
    big = 2**31 + 9
    if not context.quick and context.hardware.memory().free > 8 * big:
        with context.case(f"{big} bytes"):
            _beyond_31_bits(context, big)


def _large(context: Context, size: int, dtype: torch.dtype) -> None:
    x = (torch.arange(size) % 251).to(dtype)
    on_device = context.put(x)
    work: dict[str, Callable[[Tensor], Tensor]] = {
        "copied": lambda x: x,
        "x + 1": lambda x: x + 1,
        "cloned": lambda x: x.clone(),
        "compared": lambda x: x == 250,
    }
    for words, once in work.items():
        context.examine(once, partial(_same, words, once(x)), given=(on_device,))


def _same(words: str, want: Tensor, got: Tensor) -> None:
    """Without float64 copies: these are large."""
    if got.shape != want.shape or not torch.equal(got.cpu(), want):
        wrong = (got.cpu() != want).nonzero().flatten()
        raise Mismatch(f"{words}: {len(wrong)} entries are wrong, the first at {int(wrong[0])}")


def _beyond_31_bits(context: Context, size: int) -> None:
    x = torch.zeros(size, dtype=torch.int8, device=context.device)
    x[-1], x[2**31] = 5, 3
    doubled = x + x
    got = doubled[-1].item(), doubled[2**31].item(), int(doubled[: 2**31].amax())
    if got != (10, 6, 0):
        raise Mismatch(f"the last entries are {got} instead of (10, 6, 0)")
