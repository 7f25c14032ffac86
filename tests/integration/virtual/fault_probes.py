"""One probe a fault: true on a sound device, false where the fault is planted.

    python fault_probes.py [FAULT ...]

Prints JSON: {fault: [sound without it, sound with it]}. Every probe runs in a fork of its own,
before any device is open.
"""

from __future__ import annotations

import io
import json
import os
import select
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
import unisono_virtual
from torch import Tensor, nn
from unisono_virtual import building, faults

D = "virtual"
LIMIT_S = 20
HANGS_AFTER_S = 2.0
PROBES: dict[str, Callable[[], bool]] = {}
GROUP_PROBES: dict[str, Callable[[int], bool]] = {}


def probe(function: Callable[[], bool]) -> Callable[[], bool]:
    PROBES[function.__name__] = function
    return function


def group_probe(function: Callable[[int], bool]) -> Callable[[int], bool]:
    GROUP_PROBES[function.__name__] = function
    return function


def same(function: Callable[..., Tensor], *inputs: Any, close: bool = False) -> bool:
    """True where the device's result equals the CPU's."""
    expected = function(*inputs)
    got = function(*(x.to(D) if isinstance(x, Tensor) else x for x in inputs))
    if got.dtype != expected.dtype or got.shape != expected.shape:
        return False
    if close:
        return torch.allclose(got.cpu(), expected, rtol=1e-5, atol=1e-5)
    return torch.equal(got.cpu().nan_to_num(7.0), expected.nan_to_num(7.0))


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def product_is_same(rows: int, columns: int) -> bool:
    return same(torch.mm, normal(rows, 32), normal(32, columns))


# -- products -----------------------------------------------------------------------------------


@probe
def gemm_wrong_tile() -> bool:
    return product_is_same(33, 32)


@probe
def gemm_fp16_accumulation() -> bool:
    return same(torch.mm, normal(4, 512), normal(512, 4), close=True)


@probe
def gemm_last_row_dropped() -> bool:
    return product_is_same(5, 8)


@probe
def gemm_last_column_dropped() -> bool:
    return product_is_same(4, 7)


@probe
def gemv_m1_wrong() -> bool:
    return product_is_same(1, 8)


@probe
def tf32_silently() -> bool:
    return product_is_same(8, 8)


@probe
def nan_swallowed() -> bool:
    return bool((torch.tensor([float("nan")], device=D) + 1).isnan())


@probe
def slow_drift() -> bool:
    x = torch.eye(4, device=D)
    for _ in range(2100):
        x = x @ torch.eye(4, device=D)
    return torch.equal(x.cpu(), torch.eye(4))


# -- elementwise --------------------------------------------------------------------------------


@probe
def bf16_truncates() -> bool:
    return same(lambda x: x.bfloat16(), normal(100))


@probe
def exp_flushes_small() -> bool:
    return same(torch.exp, torch.tensor([-12.0, 0.0]))


@probe
def inf_clamped() -> bool:
    return bool((torch.tensor([float("inf")], device=D) * 2).isinf())


@probe
def rope_wrong_position() -> bool:
    return same(torch.sin, torch.arange(4000.0, 5000.0))


@probe
def noncontiguous_read_as_contiguous() -> bool:
    return same(lambda x: x.t() + 1, normal(3, 5))


@probe
def large_tensor_tail() -> bool:
    return same(lambda x: x + 1, torch.zeros(65536 + 10))


@probe
def dtype_int64_truncated() -> bool:
    return same(lambda x: x + 1, torch.tensor([2**40]))


@probe
def softmax_no_max_subtraction() -> bool:
    return same(lambda x: x.softmax(-1), torch.tensor([100.0, 0.0]))


@probe
def empty_tensor_crash() -> bool:
    return same(lambda x: x + 1, torch.empty(0, 4))


# -- rows ---------------------------------------------------------------------------------------


def written(index: list[int]) -> bool:
    def write(cache: Tensor, where: Tensor, rows: Tensor) -> Tensor:
        return cache.clone().index_copy_(0, where, rows)

    return same(write, torch.zeros(64, 2), torch.tensor(index), normal(len(index), 2))


@probe
def index_copy_drops_last() -> bool:
    return written([3])


@probe
def index_copy_first_duplicate() -> bool:
    return written([5, 5])


@probe
def index_copy_block_boundary() -> bool:
    return written([15, 16, 17])


@probe
def index_copy_neighbour_overwritten() -> bool:
    return written([7])


@probe
def index_select_wraps_large() -> bool:
    table = torch.arange(70000.0).view(-1, 1)
    return same(lambda t, i: t.index_select(0, i), table, torch.tensor([3, 69999]))


@probe
def embedding_wrong_last_row() -> bool:
    return same(lambda i, t: F.embedding(i, t), torch.tensor([9]), normal(10, 2))


# -- choosing -----------------------------------------------------------------------------------


@probe
def argmax_last_of_equals() -> bool:
    return same(lambda x: x.argmax(-1), torch.tensor([[0.0, 1.0, 1.0]]))


@probe
def argmax_wrong_beyond_65536() -> bool:
    return same(lambda x: x.argmax(-1), torch.arange(70000.0).view(1, -1))


@probe
def cumsum_low_precision() -> bool:
    return same(lambda x: x.cumsum(0), normal(100))


@probe
def topk_unsorted() -> bool:
    return same(lambda x: x.topk(3).values, normal(10))


@probe
def sort_unstable_wrong() -> bool:
    return same(lambda x: x.sort(stable=True).indices, torch.tensor([1.0, 0.0, 1.0]))


# -- results ------------------------------------------------------------------------------------


@probe
def wrong_dtype_result() -> bool:
    return same(torch.add, normal(3).bfloat16(), normal(3).bfloat16())


@probe
def wrong_shape_result() -> bool:
    return same(lambda x: x.mean(-1, keepdim=True), normal(3, 4))


@probe
def host_fallback_silent() -> bool:
    return F.silu(torch.ones(3, device=D)).device.type == D


@probe
def grad_wrong() -> bool:
    def gradient(x: Tensor) -> Tensor:
        x = x.clone().requires_grad_()
        F.silu(x).sum().backward()
        assert x.grad is not None
        return x.grad

    return same(gradient, normal(5))


# -- ops that do not come back ------------------------------------------------------------------


@probe
def hang() -> bool:
    return same(lambda x: x.topk(2).values, normal(5))


@probe
def op_raises() -> bool:
    return same(lambda x: x.cumsum(0), normal(5))


# -- memory -------------------------------------------------------------------------------------


@probe
def memory_leak() -> bool:
    before = torch.accelerator.memory_allocated()
    for _ in range(100):
        torch.empty(1000, device=D)
    return torch.accelerator.memory_allocated() == before


@probe
def memory_misreported() -> bool:
    before = torch.accelerator.memory_allocated()
    torch.empty(1000, device=D)
    return torch.accelerator.memory_allocated() == before


def too_much() -> Tensor:
    return torch.empty(1 << 40, dtype=torch.uint8, device=D)


@probe
def oom_not_recovered() -> bool:
    try:
        too_much()
    except torch.OutOfMemoryError:
        return torch.ones(3, device=D).sum().item() == 3
    return False


@probe
def oom_wrong_error() -> bool:
    try:
        too_much()
    except torch.OutOfMemoryError:
        return True
    return False


# -- streams ------------------------------------------------------------------------------------


def copied_when(wait: Callable[[], Any]) -> bool:
    host = torch.zeros(4).pin_memory()
    host.copy_(torch.ones(4, device=D), non_blocking=True)
    wait()
    return bool(host.sum() == 4)


@probe
def late_nonblocking_copy() -> bool:
    return copied_when(torch.accelerator.synchronize)


@probe
def event_sync_noop() -> bool:
    def wait() -> None:
        event = torch.Event(D)
        event.record()
        event.synchronize()

    return copied_when(wait)


@probe
def wait_event_ignored() -> bool:
    side, host, to = torch.Stream(D), torch.ones(4).pin_memory(), torch.zeros(4, device=D)
    with side:
        to.copy_(host, non_blocking=True)
    torch.accelerator.current_stream().wait_stream(side)
    return bool((to + 0).sum() == 4)


@probe
def event_elapsed_zero() -> bool:
    begin, end = (torch.Event(D, enable_timing=True) for _ in range(2))
    begin.record()
    torch.ones(100, 100, device=D) @ torch.ones(100, 100, device=D)
    end.record()
    return begin.elapsed_time(end) > 0


# -- generators and copies ----------------------------------------------------------------------


@probe
def generator_ignores_seed() -> bool:
    torch.manual_seed(1)
    first = torch.rand(4, device=D)
    torch.manual_seed(1)
    return torch.equal(first.cpu(), torch.rand(4, device=D).cpu())


@probe
def rng_state_not_restored() -> bool:
    module: Any = torch.get_device_module(D)
    state = module.get_rng_state()
    first = torch.rand(4, device=D)
    module.set_rng_state(state)
    return torch.equal(first.cpu(), torch.rand(4, device=D).cpu())


@probe
def pinned_lies() -> bool:
    return torch.ones(4).pin_memory().is_pinned()


@probe
def tied_weights_untied() -> bool:
    embedding, head = nn.Embedding(5, 4), nn.Linear(4, 5, bias=False)
    head.weight = embedding.weight
    model = nn.ModuleList([embedding, head]).to(D)
    return model[0].weight is model[1].weight


@probe
def save_load_corrupts() -> bool:
    file, x = io.BytesIO(), normal(100)
    torch.save(x.to(D), file)
    file.seek(0)
    return torch.equal(torch.load(file, map_location="cpu"), x)


# -- collectives --------------------------------------------------------------------------------


@group_probe
def all_reduce_misses_rank(rank: int) -> bool:
    x = torch.ones(3, device=D)
    dist.all_reduce(x)
    return x.tolist() == [2.0] * 3


@group_probe
def all_gather_order_swapped(rank: int) -> bool:
    parts = [torch.empty(2, device=D) for _ in range(2)]
    dist.all_gather(parts, torch.full((2,), float(rank), device=D))
    return parts[0].tolist() == [0.0, 0.0]


# -- running ------------------------------------------------------------------------------------


def in_fork(body: Callable[[], bool]) -> Callable[[], bool]:
    """Start ``body`` in a fork; the function returned waits for its answer, False if none comes."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        torch.set_num_threads(1)  # remakes torch's pool before the threads of autograd race for it
        try:
            sound = body()
        except Exception as error:
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
            sound = False
        os.write(write, b"1" if sound else b"0")
        os._exit(0)
    os.close(write)

    def answer() -> bool:
        ready, _, _ = select.select([read], [], [], limit)
        said = os.read(read, 1) if ready else b""
        os.close(read)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return said == b"1"

    limit = LIMIT_S
    return answer


def run(name: str, planted: tuple[str, ...]) -> bool:
    if name in GROUP_PROBES:
        with tempfile.TemporaryDirectory() as folder:
            ranks = [in_fork(lambda r=rank: in_group(name, planted, r, folder)) for rank in (0, 1)]
            answers = [answer() for answer in ranks]
            return all(answers)

    def body() -> bool:
        unisono_virtual.install(memory_bytes=1 << 30, faults=planted)
        if name == "hang":
            signal.signal(signal.SIGALRM, lambda *_: os._exit(1))
            signal.setitimer(signal.ITIMER_REAL, HANGS_AFTER_S)
        return PROBES[name]()

    return in_fork(body)()


def in_group(name: str, planted: tuple[str, ...], rank: int, folder: str) -> bool:
    unisono_virtual.install(memory_bytes=1 << 30, faults=planted)
    dist.init_process_group(D, init_method=f"file://{folder}/store", rank=rank, world_size=2)
    return GROUP_PROBES[name](rank)


def main() -> None:
    torch.set_num_threads(1)
    torch.ops.load_library(str(building.library()))
    names = sys.argv[1:] or list(faults.FAULTS)
    json.dump({name: [run(name, ()), run(name, (name,))] for name in names}, sys.stdout)


if __name__ == "__main__":
    started = time.monotonic()
    main()
    sys.stderr.write(f"{time.monotonic() - started:.1f} s\n")
