"""Collectives of torch.distributed with known answers: functions that need torch alone."""

from __future__ import annotations

import torch
import torch.distributed as dist

from unisono.conformance.reproductions.scripts import expect

PROBES = (
    "all_reduce_sums_all",
    "odd_sizes",
    "all_gather_in_order",
    "gather_one_tensor",
    "broadcast_from_each",
    "reduce_scatter_parts",
    "objects",
)


def all_reduce_sums_all(device: torch.device, rank: int, size: int) -> None:
    """Every rank's part is in the sum, on every rank."""
    for count in (1, 3, 1025, 1 << 18):
        x = torch.full((count,), float(3**rank), device=device)
        dist.all_reduce(x)
        want = float(sum(3**r for r in range(size)))
        wrong = int((x.cpu() != want).sum())
        expect(wrong == 0, f"{wrong} of {count} sums are wrong, such as {x[0].item()}, not {want}")
    x = torch.tensor([float(rank), -float(rank)], device=device)
    dist.all_reduce(x, op=dist.ReduceOp.MAX)
    expect(x.tolist() == [size - 1.0, 0.0], f"the maximum is {x.tolist()}")


def odd_sizes(device: torch.device, rank: int, size: int) -> None:
    """Sums of odd sizes and other dtypes."""
    for name in ("float32", "bfloat16", "float16", "int64", "int32"):
        for count in (1, 7, 127, 4099):
            x = ((torch.arange(count) % 50) + rank).to(getattr(torch, name)).to(device)
            dist.all_reduce(x)
            want = (torch.arange(count) % 50) * size + sum(range(size))
            expect(torch.equal(x.cpu().long(), want), f"all_reduce of {count} {name} is wrong")


def all_gather_in_order(device: torch.device, rank: int, size: int) -> None:
    """Parts arrive in the order of the ranks."""
    mine = torch.arange(5, device=device) + 100 * rank
    parts = [torch.zeros(5, dtype=torch.int64, device=device) for _ in range(size)]
    dist.all_gather(parts, mine)
    for r, part in enumerate(parts):
        want = [100 * r + i for i in range(5)]
        expect(part.tolist() == want, f"part {r} of all_gather is {part.tolist()}, not {want}")


def gather_one_tensor(device: torch.device, rank: int, size: int) -> None:
    """The same into one tensor."""
    mine = torch.arange(6, device=device).float().view(2, 3) + 10 * rank
    whole = torch.zeros(2 * size, 3, device=device)
    dist.all_gather_into_tensor(whole, mine)
    want = torch.cat([torch.arange(6).float().view(2, 3) + 10 * r for r in range(size)])
    expect(torch.equal(whole.cpu(), want), f"all_gather_into_tensor gives {whole.tolist()}")


def broadcast_from_each(device: torch.device, rank: int, size: int) -> None:
    """Any rank can be the source."""
    for source in range(size):
        x = torch.full((33,), float(rank + 1), device=device)
        dist.broadcast(x, src=source)
        expect(bool((x.cpu() == source + 1).all()), f"broadcast from {source} gives {x[0].item()}")


def reduce_scatter_parts(device: torch.device, rank: int, size: int) -> None:
    """Each rank gets its own part of the sum."""
    whole = (torch.arange(4 * size).float() + rank).to(device)
    mine = torch.zeros(4, device=device)
    dist.reduce_scatter_tensor(mine, whole)
    want = (torch.arange(4 * size).float() * size + sum(range(size)))[4 * rank : 4 * rank + 4]
    expect(torch.equal(mine.cpu(), want), f"reduce_scatter gives {mine.tolist()}")


def objects(device: torch.device, rank: int, size: int) -> None:
    """A barrier, and tensors of the host beside those of the device."""
    dist.barrier()
    x = torch.full((3,), float(rank + 1), device=device)
    work = dist.all_reduce(x, async_op=True)
    work.wait()
    expect(x[0].item() == sum(range(1, size + 1)), "an asynchronous all_reduce is wrong")
