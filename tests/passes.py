"""A loaded model without an engine: one pass over one sequence, whole or in parts on threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TypeVar

import torch

from unisono.core import Batch, BatchRow, SamplingParams
from unisono.engine.memory_plan import layer_caches
from unisono.engine.model_runner import ModelRunner
from unisono.engine.pages import PageLayout
from unisono.hardware import Hardware
from unisono.hardware.ranks.collectives import Group
from unisono.hardware.ranks.rendezvous import join_group
from unisono.models import LoadedModel, StepContext, load_model
from unisono.models.parallel import Shard

T = TypeVar("T")
BLOCK_SIZE = 4


def on_each(size: int, work: Callable[[int], T]) -> list[T]:
    """Runs ``work`` on all ranks at the same time; its results by rank."""
    with ThreadPoolExecutor(size) as threads:
        return list(threads.map(work, range(size)))


@contextmanager
def groups(hardware: Hardware, folder: Path, size: int) -> Iterator[list[Group]]:
    found = on_each(size, lambda rank: join_group(hardware, folder, rank=rank, size=size))
    yield found
    for group in found:
        group.leave()


def logits(
    loaded: LoadedModel, hardware: Hardware, token_ids: list[int], kv_dtype: str = "auto"
) -> torch.Tensor:
    """All logits of one sequence in one pass."""
    with torch.inference_mode():
        tensor, step = one_pass(loaded, hardware, token_ids, kv_dtype)
        return loaded.model.logits(loaded.model(tensor, step))


def one_pass(
    loaded: LoadedModel, hardware: Hardware, token_ids: list[int], kv_dtype: str = "auto"
) -> tuple[torch.Tensor, StepContext]:
    """The input of a model for one sequence in one pass."""
    pages = PageLayout.of(layer_caches(loaded.model, loaded.dtype, kv_dtype), BLOCK_SIZE)
    num_blocks = -(-len(token_ids) // BLOCK_SIZE)
    runner = ModelRunner(
        loaded, hardware, pages=pages, num_blocks=1 + num_blocks * len(pages.groups)
    )
    blocks = iter(range(1, 1 + num_blocks * len(pages.groups)))
    row = BatchRow(
        request_id="0",
        token_ids=token_ids,
        start=0,
        block_tables=[list(islice(blocks, num_blocks)) for _ in pages.groups],
        num_logits=0,
        params=SamplingParams(),
        seed=0,
        num_prompt_tokens=len(token_ids),
        all_token_ids=token_ids,
        rope_length=loaded.model.rope_length(len(token_ids), len(token_ids)),
    )
    return runner.prepare(Batch([row]))


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
            assert loaded.division is not None
            loaded.division.connect(loaded.model, hardware.ops, group)
        return on_each(size, lambda rank: logits(parts[rank], hardware, token_ids))
