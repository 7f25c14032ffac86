"""One of two processes that test collectives: ``python -m unisono.conformance.rank``.

Prints one JSON line for each case: its name, and what is wrong or an empty text.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from unisono.conformance.context import first_line, is_refusal
from unisono.conformance.expected.bounds import unit_roundoff
from unisono.conformance.expected.comparing import Expected, Mismatch, compare
from unisono.conformance.expected.math_apis import use_math_api
from unisono.conformance.inputs import normal
from unisono.conformance.reproductions import collective_probes
from unisono.core.parent import end_with_parent
from unisono.hardware.base import Hardware
from unisono.hardware.discovery import find_hardware
from unisono.hardware.ranks.rendezvous import join_group, name_of_rank

SIZE = 2
distributed: Any = torch.distributed


def main() -> None:
    end_with_parent()
    options = _parse()
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what else is printed goes to standard error

    def tell(case: str, wrong: str, **more: Any) -> None:
        channel.write(json.dumps({"case": case, "wrong": wrong, **more}) + "\n")
        channel.flush()

    first = find_hardware(options.device)
    use_math_api(first.facts.math_api)
    hardware = first
    if options.rank:
        hardware = find_hardware(name_of_rank(first, options.rank, SIZE))
    with hardware.activate():
        _attempt("the default group", lambda: _probes(hardware, options, tell), tell)
        _attempt("a group of the engine", lambda: _group_ops(hardware, options, tell), tell)


def _attempt(
    case: str,
    work: Callable[..., object],
    tell: Callable[..., None],
    given: Sequence[Any] = (),
) -> None:
    try:
        work(*given)
    except AssertionError as wrong:
        tell(case, first_line(wrong))
    except Mismatch as mismatch:
        tell(case, mismatch.detail)
    except Exception as error:
        refused = is_refusal(error)
        tell(case, f"raises {type(error).__name__}: {first_line(error)}", refused=refused)
    else:
        tell(case, "")


def _probes(hardware: Hardware, options: argparse.Namespace, tell: Callable[..., None]) -> None:
    """Functions of torch.distributed over the device's own backend."""
    backend = hardware.facts.distributed_backend
    device = hardware.device if backend else torch.device("cpu")
    store = distributed.FileStore(str(Path(options.folder) / "probes"), SIZE)
    distributed.init_process_group(
        backend or "gloo", store=store, rank=options.rank, world_size=SIZE
    )
    for name in collective_probes.PROBES:
        probe = getattr(collective_probes, name)
        _attempt(name, lambda p: p(device, options.rank, SIZE), tell, given=(probe,))
    _measure(hardware, device, tell)
    distributed.barrier()
    distributed.destroy_process_group()


def _measure(hardware: Hardware, device: torch.device, tell: Callable[..., None]) -> None:
    x = torch.ones(4 << 20, device=device)
    times = []
    for _ in range(5):
        distributed.barrier()
        hardware.synchronize()
        began = time.perf_counter()
        distributed.all_reduce(x)
        hardware.synchronize()
        times.append(time.perf_counter() - began)
        x.fill_(1.0)
    tell("measured", "", bytes_per_s=x.nbytes / min(times))


def _group_ops(hardware: Hardware, options: argparse.Namespace, tell: Callable[..., None]) -> None:
    """The ops of the table, in a group as the engine makes it."""
    folder = Path(options.folder) / "group"
    folder.mkdir(exist_ok=True)
    group = join_group(hardware, folder, rank=options.rank, size=SIZE)
    for name in hardware.facts.dtypes:
        dtype = getattr(torch, name)
        for shape in ((1,), (3, 5), (17, 129), (2, 4096)):
            parts = [normal(*shape, dtype=dtype, seed=s) for s in range(SIZE)]
            mine = parts[options.rank].to(hardware.device)
            total = parts[0].double() + parts[1].double()
            reduced = hardware.ops.all_reduce(mine.clone(), group)
            case = f"{name} {list(shape)}"
            _attempt(
                f"op all_reduce {case}",
                lambda r, t, d: _same(r, t, unit_roundoff(d), hardware),
                tell,
                given=(
                    reduced,
                    total,
                    dtype,
                ),
            )
            for dim in range(len(shape)):
                gathered = hardware.ops.all_gather(mine, group, dim)
                want = torch.cat(parts, dim).double()
                _attempt(
                    f"op all_gather {case} in dimension {dim}",
                    lambda g, w: _same(g, w, 0.0, hardware),
                    tell,
                    given=(
                        gathered,
                        want,
                    ),
                )
    group.leave()


def _same(got: torch.Tensor, want: torch.Tensor, relative: float, hardware: Hardware) -> None:
    if got.device != hardware.device:
        raise Mismatch(f"the result lies on {got.device}")
    if got.shape != want.shape:
        raise Mismatch(f"returns shape {list(got.shape)} instead of {list(want.shape)}")
    compare(got.cpu(), Expected(want, relative * want.abs()))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", required=True)
    parser.add_argument("--rank", type=int, required=True)
    parser.add_argument("--folder", required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
    sys.stdout.flush()
