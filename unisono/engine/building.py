"""From a model folder and a configuration to an engine: what fits where."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from socket import socket
from typing import TypeVar

import torch

from unisono.core.adapter_names import MAX_ADAPTERS
from unisono.core.cache import KV_DTYPES
from unisono.core.clock import MonotonicClock
from unisono.core.collector import without_collector
from unisono.core.config import EngineConfig, format_bytes
from unisono.core.errors import ConfigError
from unisono.engine.adapters import EngineAdapters
from unisono.engine.drafting.building import make_speculation
from unisono.engine.engine import Engine
from unisono.engine.memory_plan import (
    DEFAULT_KV_MEMORY,
    MemoryPlan,
    adapter_memory,
    kv_memory_that_fits,
)
from unisono.engine.model_runner import ModelRunner
from unisono.engine.pages import natural_block_size
from unisono.engine.ranks.runner import LeadingRunner
from unisono.engine.ranks.team import Ranks
from unisono.engine.sampling.constraints import Compiler, Constraints
from unisono.engine.scheduler import Scheduler, SchedulerConfig
from unisono.engine.stats import EngineInfo
from unisono.hardware.base import Hardware
from unisono.hardware.discovery import find_hardware
from unisono.hardware.ranks.collectives import Group
from unisono.hardware.threads import choose_threads
from unisono.models.checkpoint.filling import Progress
from unisono.models.checkpoint.plan import WeightPlan
from unisono.models.loading import LoadedModel, Reserve, load_model
from unisono.models.parallel import Shard

MakeCompiler = Callable[[int, frozenset[int]], Compiler]


def build_engine(
    folder: Path,
    config: EngineConfig,
    progress: Progress | None = None,
    make_compiler: MakeCompiler | None = None,
) -> Engine[ModelRunner]:
    """Load the model in ``folder`` and set an engine up around it.

    Args:
        make_compiler: makes the compiler of constraints, from the length of the model's logits and
            the tokens that end an answer. Without it, requests with constraints are refused.
        progress: told which share of the weights has been quantised, each time it grows.

    Raises:
        ModelError: the folder cannot be used.
        HardwareError: the device is not here, or has too little memory.
        ConfigError: options that contradict the model.
        EngineDeadError: the process of another rank ended without a word.
    """
    hardware = find_hardware(config.device)
    hardware.use_threads(choose_threads(config.threads))
    if config.tensor_parallel == 1:
        part = Part.load(folder, config, hardware, progress=progress)
        return _assemble(folder, config, part, part.runner(ModelRunner), make_compiler)
    ranks = Ranks(folder, config, hardware)
    try:
        shard = Shard(rank=0, size=ranks.size, sharing=ranks.sharing)
        part = Part.load(folder, config, hardware, shard, progress)
        part = part.connect(ranks.meet())
        ranks.wait_until_ready()
        runner = part.runner(partial(LeadingRunner, ranks=ranks))
        return _assemble(folder, config, part, runner, make_compiler, ranks.sockets)
    except BaseException:
        ranks.close()
        raise


def _assemble(
    folder: Path,
    config: EngineConfig,
    part: Part,
    runner: ModelRunner,
    make_compiler: MakeCompiler | None,
    alarms: Sequence[socket] = (),
) -> Engine[ModelRunner]:
    loaded, memory, clock = part.loaded, part.memory, MonotonicClock()
    scheduler = Scheduler(
        SchedulerConfig(
            groups=memory.pages.groups,
            num_blocks=memory.num_blocks,
            block_size=memory.pages.block_size,
            max_model_len=memory.max_model_len,
            max_num_seqs=config.max_num_seqs,
            max_num_batched_tokens=config.max_num_batched_tokens,
            max_queue=config.max_queue,
            eos_token_ids=loaded.eos_token_ids,
            prefix_cache=config.prefix_cache,
            rope_length=loaded.model.rope_length,
        ),
        clock,
        make_speculation(folder, config, part.hardware, loaded, memory),
    )
    info = EngineInfo(
        model_type=loaded.model_type,
        dtype=_name(loaded.dtype),
        device=part.hardware.name,
        max_model_len=memory.max_model_len,
        vocab_size=loaded.model.config.vocab_size,
        num_parameters=loaded.num_parameters,
        weight_bytes=loaded.weight_bytes,
        step_weight_bytes=loaded.step_weight_bytes,
        block_size=memory.pages.block_size,
        num_blocks=memory.num_blocks,
        kv_bytes=memory.kv_bytes,
        activation_bytes=memory.step_bytes,
        kv_dtype=KV_DTYPES[config.kv_dtype] or _name(loaded.dtype),
        weight_format=loaded.weight_format,
        tensor_parallel=config.tensor_parallel,
        note=_note(part),
        hidden_size=loaded.model.config.hidden_size,
        has_head=loaded.model.has_head,
        num_classes=loaded.model.num_classes,
    )
    if make_compiler is not None:
        compiler = make_compiler(info.vocab_size, loaded.eos_token_ids)
        runner.constraints = Constraints(compiler, info.vocab_size)
        if scheduler.speculation is not None:
            scheduler.speculation.num_allowed = runner.constraints.num_allowed
    return Engine(
        scheduler,
        runner,
        info,
        clock,
        timings=runner.timings,
        constraints=runner.constraints,
        adapters=EngineAdapters(runner, _most_adapters(config)),
        alarms=alarms,
    )


def _most_adapters(config: EngineConfig) -> int:
    return MAX_ADAPTERS if config.max_adapters is None else config.max_adapters


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _note(part: Part) -> str:
    findings = [f for f in type(part.hardware).diagnose() if f.level != "ok"]
    notes = [f"{f.subject} {f.what}. {f.advice}".strip() for f in findings]
    if part.config.kv_memory is None and part.kv_memory < DEFAULT_KV_MEMORY:
        notes.append(
            f"The KV cache has {format_bytes(part.kv_memory)}, half of what the weights leave free "
            f"on {part.hardware.name}; --kv-memory says otherwise."
        )
    pages = part.memory.pages
    natural = natural_block_size(pages.layers, part.hardware.facts.kv_block_size)
    if 2 * pages.block_size < natural:
        notes.append(
            f"Blocks of {pages.block_size} tokens fill {pages.block_size / natural:.0%} of a KV "
            f"page, which holds a recurrent state too; without block_size they have {natural}."
        )
    if part.loaded.are_looked_up and part.hardware.ops.packed_form is not None:
        notes.append(
            f"No kernel here multiplies weights in {part.loaded.weight_format}; with --weights int8"
            " they become a format for which there are some."
        )
    return " ".join(notes)


R = TypeVar("R", bound=ModelRunner)


@dataclass(frozen=True, slots=True)
class Part:
    """The part of one rank: a device, its weights, its KV cache.

    All ranks come to the same layout, from the same configuration and parts of the same shape.
    """

    hardware: Hardware
    loaded: LoadedModel
    config: EngineConfig
    kv_memory: int
    memory: MemoryPlan

    @classmethod
    def load(
        cls,
        folder: Path,
        config: EngineConfig,
        hardware: Hardware,
        shard: Shard | None = None,
        progress: Progress | None = None,
    ) -> Part:
        """Raises what ``build_engine`` raises."""
        _check_kv_dtype(config.kv_dtype, hardware)
        sharing = 1 if shard is None else shard.sharing
        kv_memory, memory = config.kv_memory or 0, None

        def reserve(plan: WeightPlan) -> Reserve:
            nonlocal kv_memory, memory
            if config.kv_memory is None:
                beside = plan.num_bytes + adapter_memory(plan.model, plan.dtype, config)
                kv_memory = kv_memory_that_fits(hardware.memory().free // sharing, beside)
            memory = MemoryPlan.of(plan.model, plan.dtype, config, hardware, kv_memory)
            return memory.reserve

        with without_collector():
            loaded = load_model(
                folder,
                hardware,
                dtype=config.dtype,
                reserve=reserve,
                shard=shard,
                weights=config.weights,
                weight_cache=config.weight_cache,
                task=config.task,
                progress=progress,
            )
        assert memory is not None
        return cls(hardware, loaded, config, kv_memory, memory)

    def connect(self, group: Group) -> Part:
        """This part as one of the whole model, with the KV memory that every rank has."""
        assert self.loaded.division is not None
        self.loaded.division.connect(self.loaded.model, self.hardware.ops, group)
        if self.config.kv_memory is not None:
            return self
        mine = torch.tensor([self.kv_memory], device=self.hardware.device)
        with self.hardware.activate():
            least = int(self.hardware.ops.all_gather(mine, group, 0).min())
        model, dtype = self.loaded.model, self.loaded.dtype
        memory = MemoryPlan.of(model, dtype, self.config, self.hardware, least)
        return replace(self, kv_memory=least, memory=memory)

    def runner(self, make: Callable[..., R]) -> R:
        memory = self.memory
        return make(
            self.loaded,
            self.hardware,
            pages=memory.pages,
            num_blocks=memory.num_blocks,
            max_adapter_rank=self.config.max_adapter_rank,
        )


def _check_kv_dtype(kv_dtype: str, hardware: Hardware) -> None:
    if kv_dtype == "fp8" and "fp8" not in hardware.facts.features:
        raise ConfigError(
            f"{hardware.name} is not known to have float8_e4m3fn.", hint="Use --kv-dtype int8."
        )
