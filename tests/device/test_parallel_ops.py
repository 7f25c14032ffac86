"""The ops between ranks, and how ranks find each other and their devices."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.waiting import PATIENCE_S
from unisono.core.errors import ConfigError, HardwareError
from unisono.hardware import Hardware, find_hardware
from unisono.hardware.ranks import rendezvous
from unisono.hardware.ranks.collectives import Group
from unisono.hardware.ranks.rendezvous import join_group, name_of_rank
from unisono.hardware.threads import share_threads

SIZE = 3


def cpu(backend: str | None = "gloo") -> Hardware:
    hardware = find_hardware("cpu")
    facts = dataclasses.replace(hardware.facts, distributed_backend=backend)
    hardware.facts = facts  # type: ignore[misc]
    return hardware


def on_each(hardware: Hardware, folder: Path, work: Callable[[Group], Any]) -> list[Any]:
    """Results of ``work`` on each rank's group, each rank on a thread."""

    def rank(number: int) -> Any:
        group = join_group(hardware, folder, rank=number, size=SIZE)
        found = work(group)
        group.leave()
        return found

    with ThreadPoolExecutor(SIZE) as threads:
        return list(threads.map(rank, range(SIZE)))


def terms(dtype: torch.dtype) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(5, 6, generator=generator).to(dtype) for _ in range(SIZE)]


@pytest.mark.parametrize("backend", ["gloo", None])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_all_reduce(backend: str | None, dtype: torch.dtype, tmp_path: Path) -> None:
    hardware, given = cpu(backend), terms(dtype)
    sums = on_each(
        hardware, tmp_path, lambda group: hardware.ops.all_reduce(given[group.rank].clone(), group)
    )
    expected = torch.stack(terms(dtype)).double().sum(0)
    assert sums[0].dtype == dtype
    assert (sums[0] - expected).abs().max() <= 4 * torch.finfo(dtype).eps * expected.abs().max()
    assert all(torch.equal(one, sums[0]) for one in sums), "the same bits on every rank"


@pytest.mark.parametrize("backend", ["gloo", None])
@pytest.mark.parametrize("dim", [0, 1, -1])
def test_all_gather(backend: str | None, dim: int, tmp_path: Path) -> None:
    hardware, given = cpu(backend), terms(torch.float32)
    # A view across the memory, as a slice of logits is.
    found = on_each(
        hardware,
        tmp_path,
        lambda group: hardware.ops.all_gather(given[group.rank][:, ::2], group, dim),
    )
    for one in found:
        assert torch.equal(one, torch.cat([part[:, ::2] for part in given], dim))


def test_nothing_listens_beyond_the_machine(tmp_path: Path) -> None:
    found = on_each(cpu(), tmp_path, lambda group: listening())
    assert {address for addresses in found for address in addresses} == {"0100007F"}, "127.0.0.1"


def listening() -> set[str]:
    """Addresses at which this process listens, as Linux writes them."""
    links = [os.readlink(link) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    own = {link.removeprefix("socket:[").rstrip("]") for link in links}
    found = set()
    for table in ("/proc/self/net/tcp", "/proc/self/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:] if Path(table).exists() else []:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in own:
                found.add(fields[1].rpartition(":")[0])
    return found


def test_ranks_that_do_not_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendezvous, "_STEP_TIMEOUT", timedelta(seconds=0.5))
    with pytest.raises(HardwareError, match="Rank 0 on cpu did not meet the 1 others"):
        join_group(cpu(), tmp_path, rank=0, size=2)


def test_backends_of_vendors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(HardwareError, match="has the distributed backend of-a-vendor"):
        join_group(cpu("of-a-vendor"), tmp_path, rank=0, size=2)
    monkeypatch.setattr(rendezvous.distributed, "is_backend_available", lambda name: True)
    monkeypatch.setattr(rendezvous.distributed, "is_initialized", lambda: True)
    with pytest.raises(HardwareError, match="one group of ranks in a process"):
        join_group(cpu("of-a-vendor"), tmp_path, rank=0, size=2)


class Cards(Hardware):
    """Four of a kind, of which this is the second."""

    facts = dataclasses.replace(find_hardware("cpu").facts, name="cards", device_type="meta")

    def __init__(self) -> None:
        self.index = 1

    @classmethod
    def count(cls) -> int:
        return 4


def test_devices_of_ranks() -> None:
    assert [name_of_rank(Cards(), rank, 3) for rank in range(3)] == [
        "cards:1",
        "cards:2",
        "cards:3",
    ]
    assert [name_of_rank(find_hardware("cpu"), rank, 2) for rank in range(2)] == ["cpu", "cpu"]
    with pytest.raises(ConfigError, match=r"4 ranks need 4 devices; from cards:1 on there are 3"):
        name_of_rank(Cards(), 0, 4)


def test_threads_are_divided() -> None:
    assert share_threads(1) == torch.get_num_threads()
    assert share_threads(10**6) == 1


NAMED = """
import dataclasses, os, sys
from pathlib import Path
import torch
from unisono.hardware import find_hardware
from unisono.hardware.ranks import rendezvous
rendezvous._HOST_BACKEND = "none of these"
hardware = find_hardware("cpu")
rank = int(sys.argv[1])
group = rendezvous.join_group(hardware, Path(sys.argv[2]), rank=rank, size=2)
assert group.owns_default and "GLOO_SOCKET_IFNAME" not in os.environ
x = torch.full((2, 3), float(rank + 1))
assert hardware.ops.all_gather(x, group, 0)[:, 0].tolist() == [1.0, 1.0, 2.0, 2.0]
group.leave()
assert not torch.distributed.is_initialized()
"""


def test_a_backend_that_torch_opens_by_name(tmp_path: Path) -> None:
    """Gloo, taken for a vendor's."""
    environment = {k: v for k, v in os.environ.items() if k != "GLOO_SOCKET_IFNAME"}
    ranks = [
        subprocess.Popen([sys.executable, "-c", NAMED, str(rank), str(tmp_path)], env=environment)
        for rank in range(2)
    ]
    assert [rank.wait(PATIENCE_S) for rank in ranks] == [0, 0]
