"""Packed weights in a file: the layout's name, what is refused, and a model that starts from it."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
import unisono_cpu as uc
from unisono_cpu.hardware import NativeCpuHardware, NativeCpuOps

from tests import checkpoints
from tests.engines import answers, engine
from unisono.core import WeightFormat
from unisono.core.errors import CheckpointError
from unisono.models import load_model

PROMPTS = checkpoints.prompts(5, 40)
FORMATS = ["int4", "int4-g64", "int4-asym", "int8", "int8-g32"]


def parsed(text: str) -> WeightFormat:
    format = WeightFormat.parse(text)
    assert format is not None
    return format


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UNISONO_WEIGHT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model = checkpoints.oracle("qwen3", tie_word_embeddings=True)
    return checkpoints.save(model, tmp_path / "model")


@pytest.mark.parametrize("isa", uc.available_isas())
def test_the_layout_has_the_version_of_the_header(isa: str, isas: None) -> None:
    uc.set_isa(isa)
    blob = uc.pack(torch.randn(8, 32), "int4", 32).blob
    version = int.from_bytes(blob[8:12].numpy().tobytes(), "little")
    assert f"unisono-cpu {version}" == uc.LAYOUT


@pytest.mark.parametrize("text", FORMATS)
def test_bytes_and_back(text: str) -> None:
    ops, format = NativeCpuOps(), parsed(text)
    packed = ops.prepare_linear(torch.randn(40, 96), format)
    data = ops.packed_form.to_bytes(packed)
    padded = torch.cat([data, torch.zeros(64, dtype=torch.uint8)])
    other = NativeCpuOps()
    again = other.packed_form.from_bytes(padded, (40, 96), format)
    assert torch.equal(again.unpack(), packed.unpack())
    assert again.num_bytes == packed.num_bytes
    assert other.packs


def test_other_weights_are_refused() -> None:
    ops, format = NativeCpuOps(), parsed("int4")
    form = ops.packed_form
    data = form.to_bytes(ops.prepare_linear(torch.randn(40, 96), format))
    for shape, asked in (
        ((96, 40), "int4"),
        ((40, 64), "int4"),
        ((40, 96), "int8"),
        ((40, 96), "int4-g64"),
        ((40, 96), "int4-asym"),
    ):
        with pytest.raises(CheckpointError):
            form.from_bytes(data, shape, parsed(asked))
    for wrong in (data[:-64], data[:64], data[:0], torch.zeros(4096, dtype=torch.uint8)):
        with pytest.raises(CheckpointError):
            form.from_bytes(wrong, (40, 96), format)


@pytest.mark.parametrize("at", [0, 20, 50, 130, 700, -1])
def test_a_flipped_bit_is_found(at: int) -> None:
    ops, format = NativeCpuOps(), parsed("int4")
    data = ops.packed_form.to_bytes(ops.prepare_linear(torch.randn(40, 96), format))
    data[at] ^= 1
    with pytest.raises(CheckpointError):
        ops.packed_form.from_bytes(data, (40, 96), format)


@pytest.mark.parametrize("text", ["int4", "int4-asym", "int8"])
def test_a_later_start_gives_the_same_answers(folder: Path, cache: Path, text: str) -> None:
    plain = answers(engine(folder, weights=text, weight_cache=False), PROMPTS)
    assert not cache.exists()
    assert answers(engine(folder, weights=text), PROMPTS) == plain
    (kept,) = cache.iterdir()
    written = kept.stat().st_mtime_ns
    assert answers(engine(folder, weights=text), PROMPTS) == plain
    assert kept.stat().st_mtime_ns == written


def test_a_later_start_holds_its_weights_in_the_mapped_file(folder: Path, cache: Path) -> None:
    load_model(folder, NativeCpuHardware(), weights="int4")
    model = load_model(folder, NativeCpuHardware(), weights="int4").model
    (kept,) = cache.iterdir()
    spans = [
        tuple(int(bound, 16) for bound in line.split()[0].split("-"))
        for line in Path("/proc/self/maps").read_text().splitlines()
        if line.endswith(str(kept))
    ]
    weights = [module.weight for module in model.modules() if hasattr(module, "parts")]
    assert len(weights) == 13
    for weight in weights:
        assert any(low <= weight.address < high for low, high in spans)


def test_a_damaged_file_is_made_anew(
    folder: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plain = answers(engine(folder, weights="int4"), PROMPTS)
    (kept,) = cache.iterdir()
    whole = kept.read_bytes()
    damaged = bytearray(whole)
    damaged[len(damaged) // 2] ^= 1
    kept.write_bytes(damaged)
    assert answers(engine(folder, weights="int4"), PROMPTS) == plain
    (record,) = [entry for entry in caplog.records if entry.levelno >= logging.WARNING]
    assert "damaged" in record.getMessage()
    assert kept.read_bytes() == whole
