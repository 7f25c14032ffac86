"""Checks that the device is what it says: how many, which, and that results stay on it."""

from __future__ import annotations

import torch

from unisono.conformance.context import Context, NotApplicable, first_line
from unisono.conformance.expected.comparing import Mismatch
from unisono.conformance.registry import check
from unisono.conformance.reproductions.scripts import expect
from unisono.hardware.base import Hardware, HostHardware


@check("runtime.identity", "name, count and memory of the devices are true")
def identity(context: Context) -> None:
    cls = type(context.hardware)
    with context.case("the count is a number above 0"):
        count = cls.count()
        if not isinstance(count, int) or count < 1:
            raise Mismatch(f"counts {count!r} devices")
    with context.case("it has a name"):
        if not str(cls.describe(context.hardware.index)).strip():
            raise Mismatch("the name is empty")
    for index in range(min(cls.count(), 8)):
        with context.case(f"device {index} works"):
            _works(cls, index)
    if not isinstance(context.hardware, HostHardware):
        with context.case("there are no further ones"):
            _no_more(cls)


def _works(cls: type[Hardware], index: int) -> None:
    says = f"says that there are {cls.count()} devices, but device {index}"
    try:
        hardware = cls(index)
        with hardware.activate():
            total = torch.arange(5, device=hardware.device).sum().item()
    except Exception as error:
        raise Mismatch(f"{says} fails ({type(error).__name__}: {first_line(error)})") from error
    if total != 10:
        raise Mismatch(f"{says} adds 0 to 4 up to {total}")
    try:
        memory = hardware.memory()
    except Exception as error:
        raise Mismatch(f"device {index}: {first_line(error)}") from error
    if not 0 <= memory.free <= memory.total or memory.total < 1 << 20:
        raise Mismatch(f"device {index} reports {memory.free} bytes free of {memory.total}")


def _no_more(cls: type[Hardware]) -> None:
    beyond = cls.count()
    try:
        torch.ones(1, device=torch.device(cls.facts.device_type, beyond)).item()
    except Exception:
        return
    raise Mismatch(f"counts {beyond} devices, but device {beyond} works too")


def results_stay(device: torch.device) -> None:
    """Every result lies where its inputs lie."""
    x = torch.randn(8, 8).to(device)
    ids = torch.tensor([3, 1, 0]).to(device)
    results = {
        "x + 1": x + 1,
        "x @ x": x @ x,
        "addmm": torch.addmm(x, x, x),
        "bmm": torch.bmm(x.view(1, 8, 8), x.view(1, 8, 8)),
        "softmax": torch.softmax(x, -1),
        "layer norm": torch.nn.functional.layer_norm(x, (8,)),
        "exp": x.exp(),
        "rsqrt": x.abs().rsqrt(),
        "cos": x.cos(),
        "silu": torch.nn.functional.silu(x),
        "tanh": x.tanh(),
        "sum": x.sum(),
        "mean": x.mean(-1),
        "amax": x.amax(-1),
        "cumsum": x.cumsum(-1),
        "argmax": x.argmax(-1),
        "sort": x.sort().values,
        "topk": x.topk(2).values,
        "gather": x.gather(0, ids.view(3, 1)),
        "index_select": x.index_select(0, ids),
        "index": x[ids],
        "boolean index": x[x > 0],
        "index_copy": x.index_copy(0, ids, x[:3]),
        "embedding": torch.nn.functional.embedding(ids, x),
        "cat": torch.cat((x, x)),
        "stack": torch.stack((x, x)),
        "where": torch.where(x > 0, x, 0.0),
        "masked_fill": x.masked_fill(x > 0, 0.0),
        "comparison": x > 0,
        "cast": x.to(torch.int32),
        "long": x.long(),
        "clone": x.clone(),
        "transposed copy": x.T.contiguous(),
        "roll": x.roll(1, -1),
        "nonzero": (x > 0).nonzero(),
        "zeros_like": torch.zeros_like(x),
        "new tensor": torch.ones(3, device=device),
        "arange": torch.arange(3, device=device),
        "random": torch.randn(3, device=device),
        "attention": torch.nn.functional.scaled_dot_product_attention(
            x.view(1, 1, 8, 8), x.view(1, 1, 8, 8), x.view(1, 1, 8, 8)
        ),
    }
    elsewhere = [f"{name} on {y.device}" for name, y in results.items() if y.device != x.device]
    expect(not elsewhere, f"results lie elsewhere than on {x.device}: {', '.join(elsewhere)}")


@check("runtime.residence", "results lie on the device, none silently on the host")
def residence(context: Context) -> None:
    context.probe("results stay where their inputs are", results_stay)


@check("runtime.second_device", "work and copies on a device that is not the first")
def second_device(context: Context) -> None:
    cls = type(context.hardware)
    if isinstance(context.hardware, HostHardware) or cls.count() < 2:
        raise NotApplicable("there is one device")
    first, second = (cls(index).device for index in (0, 1))
    x = torch.randn(1000)
    with context.case("a result lies on the second device"):
        y = x.to(second) * 2
        if y.device != second:
            raise Mismatch(f"the result lies on {y.device}")
        if not torch.equal(y.cpu(), x * 2):
            raise Mismatch("the result is wrong")
    with context.case("copies from one to the other and back"):
        there = x.to(first).to(second)
        if there.device != second or not torch.equal(there.to(first).cpu(), x):
            raise Mismatch("a copy between devices is wrong")
    with context.case("the first stays the current one"):
        _ = x.to(second) + 1
        if torch.ones(1, device=first.type).device != first and context.hardware.index == 0:
            raise Mismatch("work on the second device changed the current one")
    with context.case("a tensor made while the second is active lies there"):
        with cls(1).activate():
            made = torch.ones(3, device=first.type)
        if made.device != second:
            raise Mismatch(f"it lies on {made.device}")
