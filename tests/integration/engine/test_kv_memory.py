"""The KV budget where none is given: what fits beside the weights, said."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import checkpoints
from tests.engines import answers, engine
from unisono.core import EngineConfig
from unisono.core.errors import InsufficientMemoryError
from unisono.engine import build_engine
from unisono.engine.building import Part
from unisono.hardware import Hardware, MemoryInfo, find_hardware
from unisono.models.parallel import Shard

GIB = 2**30


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return checkpoints.save(checkpoints.oracle("llama"), tmp_path)


def with_free(free: int, monkeypatch: pytest.MonkeyPatch) -> Hardware:
    hardware = find_hardware("cpu")
    monkeypatch.setattr(type(hardware), "memory", lambda self: MemoryInfo(free, 8 * GIB))
    return hardware


def test_there_are_two_gib_where_they_fit(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = Part.load(folder, EngineConfig(device="cpu"), with_free(8 * GIB, monkeypatch))
    assert part.kv_memory == 2 * GIB
    assert part.memory.kv_bytes <= 2 * GIB


def test_else_half_of_what_the_weights_leave_and_the_note_says_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = 64 << 20
    with_free(free, monkeypatch)
    made = build_engine(folder, EngineConfig(device="cpu", dtype="float32"))
    budget = (free - made.info.weight_bytes) // 2
    assert budget - budget // 8 < made.info.kv_bytes <= budget
    assert "The KV cache has 3" in made.info.note
    assert "--kv-memory" in made.info.note


def test_a_figure_that_is_given_is_absolute(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_free(64 << 20, monkeypatch)
    config = EngineConfig(device="cpu", dtype="float32", kv_memory=8 << 20)
    made = build_engine(folder, config)
    assert made.info.kv_bytes <= 8 << 20
    assert "KV cache has" not in made.info.note
    with pytest.raises(InsufficientMemoryError, match=r"the KV cache 6\d\.\d MiB"):
        build_engine(folder, EngineConfig(device="cpu", kv_memory=64 << 20))


def test_weights_that_do_not_fit_are_named_not_the_cache(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_free(1000, monkeypatch)
    with pytest.raises(InsufficientMemoryError, match=r"1000 B free; the weights need") as caught:
        build_engine(folder, EngineConfig(device="cpu"))
    assert "--kv-memory" not in str(caught.value)


def test_ranks_in_one_memory_share_what_is_free(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hardware, config = with_free(64 << 20, monkeypatch), EngineConfig(device="cpu")
    alone = Part.load(folder, config, hardware, Shard(rank=0, size=2, sharing=1))
    shared = Part.load(folder, config, hardware, Shard(rank=0, size=2, sharing=2))
    assert shared.kv_memory == pytest.approx(alone.kv_memory / 2, rel=0.01)


def test_all_ranks_take_what_the_poorest_has(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is small for rank 0 alone: the other is a process of its own."""
    prompts = [[3, 5, 7, 11], [2] * 20]
    whole = answers(engine(folder), prompts)
    with_free(32 << 20, monkeypatch)
    divided = engine(folder, kv_memory=None, tensor_parallel=2)
    try:
        assert divided.info.kv_bytes < 8 << 20
        assert answers(divided, prompts) == whole
    finally:
        divided.close()
