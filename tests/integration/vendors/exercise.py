"""Everything unisono asks of a vendor's device, on a stand-in for it. One vendor a process.

The stand-in is the virtual accelerator under the vendor's device string, behind a module of the
name that the vendor's package has; what it shows is that the hardware file fits together, not that
the chip works.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from dataclasses import replace
from importlib.machinery import ModuleSpec
from typing import Any

import torch
import torch.distributed as dist
import unisono_virtual
from torch import nn

from unisono import LLM, SamplingParams
from unisono.hardware import Hardware, discovery, find_hardware, load_hardware

BUILT_INTO_TORCH = {"cpu", "cuda", "xpu", "mps", "hpu"}
PROMPTS = ["The elevator is stuck between two floors.", "我想咨询一下套餐资费。"]
OLD_BUILDS: dict[str, tuple[str, ...]] = {
    "npu": ("get_memory_info",),
    "supa": ("get_memory_info", "get_device_capability"),
    "musa": ("get_memory_info", "get_device_name"),
}
"""Functions that older builds of a plugin are known to lack; unisono must manage."""


def stand_in(facts: Any) -> None:
    """The device under the vendor's string, and a package of the vendor's name in place."""
    names = (facts.import_module or "").split(".") if facts.import_module else []
    for depth in range(1, len(names) + 1):
        name = ".".join(names[:depth])
        module = types.ModuleType(name)
        module.__spec__ = ModuleSpec(name, None)
        module.__path__ = []
        module.__version__ = "stand-in"  # type: ignore[attr-defined]
        sys.modules[name] = module
    unisono_virtual.install(facts.device_type, lacking=OLD_BUILDS.get(facts.name, ()))
    if facts.distributed_backend is not None:
        from unisono.hardware.ranks.bridge import register_bridge

        register_bridge(facts.distributed_backend, facts.device_type)


def point_at_stand_in(cls: type[Hardware]) -> None:
    """For device types that torch has built in, which no other device can be called: the class,
    with its facts' device type replaced, takes the place of the one that is found."""
    unisono_virtual.install("virtual")
    facts = replace(cls.facts, device_type="virtual", import_module=None)
    missing = vars(Hardware)["missing"]  # the general question; CUDA's own would find no CUDA
    pointed = type(cls.__name__, (cls,), {"facts": facts, "missing": missing})
    found = discovery._load
    discovery._load = lambda entry: pointed if entry.name == facts.name else found(entry)
    accelerator = torch.accelerator
    stand_ins = {
        "recommended_max_memory": lambda: accelerator.get_memory_info(0)[1],
        "driver_allocated_memory": lambda: (
            accelerator.get_memory_info(0)[1] - accelerator.get_memory_info(0)[0]
        ),
        "current_allocated_memory": accelerator.memory_allocated,
        "synchronize": accelerator.synchronize,
    }
    for name, call in stand_ins.items():
        setattr(torch.mps, name, call)


def loads_and_is_named(hardware: Hardware) -> None:
    assert hardware.device.type == hardware.facts.device_type
    assert hardware.name == f"{hardware.facts.name}:0"
    assert type(hardware).missing() is None
    assert type(hardware).count() >= 1
    assert type(hardware).survey()[0].total_memory > 0


def accounts_for_memory(hardware: Hardware) -> None:
    before, size = hardware.memory(), 64 << 20
    assert 0 < before.free <= before.total
    used = hardware.memory_use().allocated
    data = torch.empty(size, dtype=torch.uint8, device=hardware.device)
    assert before.free - hardware.memory().free >= size
    if used is not None:
        assert hardware.memory_use().allocated == used + data.nbytes
    del data
    hardware.release_cached()
    assert hardware.memory().free == before.free


def orders_streams_and_events(hardware: Hardware) -> None:
    stream, done = hardware.new_stream(), hardware.new_event()
    assert stream is not None
    assert done is not None
    with hardware.activate(), hardware.on_stream(stream):
        doubled = torch.ones(1000, device=hardware.device) * 2
        done.record(stream)
    done.synchronize()
    hardware.synchronize()
    assert doubled.cpu().sum() == 2000


def draws_from_its_generator(hardware: Hardware) -> None:
    def draw() -> torch.Tensor:
        hardware.seed(7)
        return torch.rand(8, device=hardware.device).cpu()

    assert torch.equal(draw(), draw())


def runs_a_model(hardware: Hardware) -> None:
    params = SamplingParams(max_tokens=12, temperature=0.0)
    answers = {}
    for device in ("cpu", hardware.name):
        llm = LLM(device=device, dtype="float32", kv_memory=64 << 20)
        answers[device] = [out.token_ids for out in llm.generate(PROMPTS, params)]
    assert answers["cpu"] == answers[hardware.name]


def takes_a_training_step(hardware: Hardware) -> None:
    def step(device: torch.device) -> list[torch.Tensor]:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(16, 32), nn.SiLU(), nn.Linear(32, 4)).to(device)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
        loss = nn.functional.cross_entropy(
            model(torch.linspace(-1, 1, 48).view(3, 16).to(device)),
            torch.tensor([0, 1, 3], device=device),
        )
        loss.backward()
        optimizer.step()
        return [parameter.detach().cpu() for parameter in model.parameters()]

    for ours, expected in zip(step(hardware.device), step(torch.device("cpu")), strict=True):
        torch.testing.assert_close(ours, expected)


ALONE: list[Callable[[Hardware], None]] = [
    loads_and_is_named,
    accounts_for_memory,
    orders_streams_and_events,
    draws_from_its_generator,
    runs_a_model,
    takes_a_training_step,
]


def hardware_of(name: str) -> Hardware:
    """The vendor's hardware, for the rest of this process."""
    torch.set_num_threads(1)
    cls = load_hardware()[0][name]
    if cls.facts.device_type in BUILT_INTO_TORCH:
        point_at_stand_in(cls)
    else:
        stand_in(cls.facts)
    return find_hardware(name)


def exercise(name: str) -> dict[str, str]:
    """Failures on the vendor's device: check -> error."""
    hardware = hardware_of(name)
    failures = {}
    for check in ALONE:
        try:
            check(hardware)
        except Exception as error:
            failures[check.__name__] = f"{type(error).__name__}: {error}"
    return failures


def collectives(name: str, rank: int, store: str) -> None:
    hardware = hardware_of(name)
    dist.init_process_group(
        hardware.facts.distributed_backend, init_method=f"file://{store}", rank=rank, world_size=2
    )
    summed = torch.full((5,), float(rank + 1), device=hardware.device)
    dist.all_reduce(summed)
    assert summed.tolist() == [3.0] * 5
    gathered = torch.empty(4, device=hardware.device)
    dist.all_gather_into_tensor(gathered, torch.full((2,), float(rank), device=hardware.device))
    assert gathered.tolist() == [0.0, 0.0, 1.0, 1.0]
    dist.destroy_process_group()
