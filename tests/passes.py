"""A loaded model without an engine: one pass over one sequence, whole or in parts on threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import torch

from unisono.hardware import AttentionStep, Hardware
from unisono.hardware.collectives import Group
from unisono.hardware.rendezvous import join_group
from unisono.models import LoadedModel, StepContext, load_model
from unisono.models.parallel import Shard

T = TypeVar("T")


def on_each(size: int, work: Callable[[int], T]) -> list[T]:
    """What ``work`` gives on each rank, all at the same time."""
    with ThreadPoolExecutor(size) as threads:
        return list(threads.map(work, range(size)))


@contextmanager
def groups(hardware: Hardware, folder: Path, size: int) -> Iterator[list[Group]]:
    found = on_each(size, lambda rank: join_group(hardware, folder, rank=rank, size=size))
    yield found
    for group in found:
        group.leave()


def logits(loaded: LoadedModel, hardware: Hardware, token_ids: list[int]) -> torch.Tensor:
    """All logits of one sequence in one pass."""
    config = loaded.model.config
    num_blocks = 2 + len(token_ids) // 4
    shape = (2, num_blocks, 4, config.num_kv_heads, config.head_dim)
    kv = [torch.zeros(shape, dtype=loaded.dtype) for _ in range(config.num_layers)]
    steps = [
        AttentionStep(
            query_lens=[len(token_ids)],
            context_lens=[len(token_ids)],
            block_tables=[list(range(1, num_blocks))],
            slots=torch.arange(4, 4 + len(token_ids)),
            block_size=4,
            window=window,
        )
        for window in config.windows
    ]
    with torch.inference_mode():
        for step in steps:
            step.plan = hardware.ops.plan_attention(step, kv[0])
        context = StepContext(torch.arange(len(token_ids)), kv, steps)
        return loaded.model.logits(loaded.model(torch.tensor(token_ids), context))


def logits_of_parts(
    folder: Path, hardware: Hardware, meeting_place: Path, size: int, token_ids: list[int]
) -> list[torch.Tensor]:
    """Each rank's logits, float32 weights."""
    meeting_place.mkdir()
    parts = [
        load_model(folder, hardware, dtype="float32", shard=Shard(rank=rank, size=size))
        for rank in range(size)
    ]
    with groups(hardware, meeting_place, size) as joined:
        for loaded, group in zip(parts, joined, strict=True):
            assert loaded.plan is not None
            loaded.plan.connect(loaded.model, hardware.ops, group)
        return on_each(size, lambda rank: logits(parts[rank], hardware, token_ids))
