"""Collectives of two ranks, each on its own device. Prints JSON: {check: error or ""}.

python distributed_checks.py RANK STORE_FOLDER
"""

from __future__ import annotations

import copy
import json
import sys
import warnings
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
import unisono_virtual
from torch import Tensor, nn
from torch.distributed import _functional_collectives as functional
from torch.distributed import checkpoint
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Replicate, Shard, distribute_tensor

RANK, FOLDER = int(sys.argv[1]), sys.argv[2]
D = f"virtual:{RANK}"
CHECKS: dict[str, Callable[[], None]] = {}


def check(function: Callable[[], None]) -> Callable[[], None]:
    CHECKS[function.__name__] = function
    return function


def mine(*shape: int) -> Tensor:
    """Filled with the rank's number."""
    return torch.full(shape, float(RANK), device=D)


@check
def all_reduce() -> None:
    for dtype in (torch.float32, torch.bfloat16, torch.float16, torch.int64):
        x = torch.full((5,), RANK + 1, device=D, dtype=dtype)
        dist.all_reduce(x)
        assert x.tolist() == [3] * 5
    for op, expected in ((dist.ReduceOp.MAX, 1), (dist.ReduceOp.AVG, 0.5)):
        x = mine(2)
        dist.all_reduce(x, op=op)
        assert x.tolist() == [expected] * 2


@check
def all_gather() -> None:
    whole = torch.empty(4, device=D)
    dist.all_gather_into_tensor(whole, mine(2))
    assert whole.tolist() == [0, 0, 1, 1]
    parts = [torch.empty(2, device=D) for _ in range(2)]
    dist.all_gather(parts, mine(2))
    assert [part.tolist() for part in parts] == [[0, 0], [1, 1]]


@check
def reduce_scatter() -> None:
    part = torch.empty(2, device=D)
    dist.reduce_scatter_tensor(part, torch.arange(4.0, device=D))
    assert part.tolist() == [4 * RANK, 4 * RANK + 2]
    dist.reduce_scatter(part, [torch.ones(2, device=D), torch.full((2,), 2.0, device=D)])
    assert part.tolist() == [2 * (RANK + 1)] * 2


@check
def broadcast_reduce_gather_scatter() -> None:
    x = mine(2)
    dist.broadcast(x, 1)
    assert x.tolist() == [1, 1]
    x = mine(2) + 1
    dist.reduce(x, 0)
    assert RANK == 1 or x.tolist() == [3, 3]
    parts = [torch.empty(1, device=D) for _ in range(2)] if RANK == 0 else None
    dist.gather(mine(1), parts, 0)
    assert parts is None or [part.item() for part in parts] == [0, 1]
    part = torch.empty(1, device=D)
    dist.scatter(part, [mine(1) + 5, mine(1) + 6] if RANK == 0 else None, 0)
    assert part.item() == 5 + RANK


@check
def all_to_all() -> None:
    out = torch.empty(4, device=D)
    dist.all_to_all_single(out, torch.arange(4.0, device=D) + 10 * RANK)
    assert out.tolist() == [2 * RANK, 2 * RANK + 1, 10 + 2 * RANK, 11 + 2 * RANK]
    parts = [torch.empty(1, device=D) for _ in range(2)]
    dist.all_to_all(parts, [mine(1), mine(1)])
    assert [part.item() for part in parts] == [0, 1]


@check
def send_and_receive() -> None:
    if RANK == 0:
        dist.send(torch.ones(3, device=D), 1)
    else:
        x = torch.zeros(3, device=D)
        dist.recv(x, 0)
        assert x.tolist() == [1, 1, 1]
    got = torch.zeros(3, device=D)
    exchange = [
        dist.P2POp(dist.isend, mine(3), 1 - RANK),
        dist.P2POp(dist.irecv, got, 1 - RANK),
    ]
    for work in dist.batch_isend_irecv(exchange):
        work.wait()
    assert got.tolist() == [1 - RANK] * 3


@check
def host_tensors_and_objects() -> None:
    x = torch.ones(2)
    dist.all_reduce(x)
    assert x.tolist() == [2, 2]
    gathered: list[Any] = [None, None]
    dist.all_gather_object(gathered, {"rank": RANK})
    assert gathered == [{"rank": 0}, {"rank": 1}]
    objects = [RANK]
    dist.broadcast_object_list(objects, 1)
    assert objects == [1]
    dist.barrier()


@check
def asynchronous() -> None:
    for wait in (lambda work: work.wait(), lambda work: work.get_future().wait()):
        x = torch.ones(2, device=D)
        wait(dist.all_reduce(x, async_op=True))
        assert x.tolist() == [2, 2]


@check
def functional_collectives() -> None:
    group = dist.group.WORLD
    assert functional.all_reduce(torch.ones(2, device=D), "sum", group).tolist() == [2, 2]
    assert functional.all_gather_tensor(mine(2), 0, group).tolist() == [0, 0, 1, 1]
    part = functional.reduce_scatter_tensor(torch.ones(4, device=D), "sum", 0, group)
    assert part.tolist() == [2, 2]


@check
def groups_and_meshes() -> None:
    x = torch.ones(1, device=D)
    dist.all_reduce(x, group=dist.new_group([0, 1]))
    assert x.item() == 2
    mesh = init_device_mesh("virtual", (1, 2), mesh_dim_names=("data", "model"))
    dist.all_reduce(x, group=mesh["model"].get_group())
    assert x.item() == 4


@check
def distributed_data_parallel() -> None:
    torch.manual_seed(0)
    module = nn.Linear(4, 4).to(D)
    parallel = nn.parallel.DistributedDataParallel(module)
    parallel(mine(2, 4) + 1).sum().backward()
    assert module.weight.grad is not None
    assert module.weight.grad.tolist() == [[3.0] * 4] * 4


@check
def fully_sharded() -> None:
    torch.manual_seed(0)
    sharded = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4)).to(D)
    whole = copy.deepcopy(sharded)
    mesh = init_device_mesh("virtual", (2,))
    for module in (sharded[0], sharded[2], sharded):
        fully_shard(module, mesh=mesh)
    for module in (sharded, whole):
        optimizer = torch.optim.AdamW(module.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            module(torch.ones(2, 4, device=D)).sum().backward()
            optimizer.step()
    for ours, expected in zip(sharded.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(ours.full_tensor(), expected)


@check
def distributed_tensors() -> None:
    mesh = init_device_mesh("virtual", (2,))
    x = torch.arange(16.0, device=D).view(4, 4)
    product = distribute_tensor(x, mesh, [Shard(0)]) @ distribute_tensor(x, mesh, [Shard(1)])
    assert torch.equal(product.redistribute(mesh, [Replicate()]).to_local(), x @ x)


@check
def distributed_checkpoint() -> None:
    saved = {"x": torch.full((3,), 2.0, device=D)}
    loaded = {"x": torch.zeros(3, device=D)}
    checkpoint.save(saved, checkpoint_id=f"{FOLDER}/checkpoint")
    checkpoint.load(loaded, checkpoint_id=f"{FOLDER}/checkpoint")
    assert loaded["x"].tolist() == [2, 2, 2]


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    unisono_virtual.install(memory_bytes=1 << 30)
    torch.accelerator.set_device_index(RANK)
    limit = timedelta(seconds=60)
    where = f"file://{FOLDER}/store"
    dist.init_process_group("virtual", init_method=where, rank=RANK, world_size=2, timeout=limit)
    results = {}
    for name, function in CHECKS.items():
        try:
            function()
            results[name] = ""
        except Exception as error:
            results[name] = f"{type(error).__name__}: {error}"
    dist.destroy_process_group()
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main()
