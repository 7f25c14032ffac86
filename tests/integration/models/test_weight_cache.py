"""Quantised weights that were kept are those of the checkpoint, or are made anew."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests import checkpoints
from tests.engines import answers, engine
from tests.packing_hardware import PackingHardware
from unisono.core import WeightFormat
from unisono.engine import building
from unisono.hardware.weights.level_weight import LevelWeight
from unisono.models import load_model
from unisono.models.checkpoint.packed_file import PackedFileWriter
from unisono.models.parallel import Shard

PROMPTS = checkpoints.prompts(5, 21)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache" / "weights"
    monkeypatch.setenv("UNISONO_WEIGHT_CACHE", str(folder))
    return folder


@pytest.fixture(params=[True, False], ids=["tied", "untied"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    model = checkpoints.oracle("qwen2", tie_word_embeddings=request.param)
    return checkpoints.save(model, tmp_path / "model")


@pytest.fixture
def untied(tmp_path: Path) -> Path:
    model = checkpoints.oracle("qwen3", tie_word_embeddings=False)
    return checkpoints.save(model, tmp_path / "model")


class Loaded:
    """A start: the model's tensors, and how many of them were quantised for it."""

    def __init__(self, folder: Path, weights: str = "int4", **options: Any) -> None:
        hardware = PackingHardware()
        model = load_model(folder, hardware, weights=weights, **options).model
        self.num_quantized = hardware.ops.num_quantized
        self.tensors: dict[str, Tensor] = {}
        for path, module in model.named_modules():
            weight = getattr(module, "weight", None)
            if isinstance(weight, LevelWeight):
                self.tensors[path] = weight.dequantize()
        self.tensors |= {name: value.data for name, value in model.named_parameters()}

    def __eq__(self, other: object) -> bool:
        assert isinstance(other, Loaded)
        mine, theirs = self.tensors, other.tensors
        return mine.keys() == theirs.keys() and all(
            torch.equal(mine[name], theirs[name]) for name in mine
        )

    __hash__ = None  # type: ignore[assignment]


def start_without(folder: Path, weights: str = "int4", **options: Any) -> Loaded:
    return Loaded(folder, weights, weight_cache=False, **options)


def files(cache: Path) -> list[Path]:
    return sorted(cache.iterdir()) if cache.exists() else []


def notices(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    caplog.clear()
    return found


# -- what is kept -----------------------------------------------------------------------------


@pytest.mark.parametrize("weights", ["int4", "int8-g64", "int4-asym"])
def test_later_starts_quantise_nothing_and_hold_the_same(
    folder: Path, weights: str, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plain, first, second = (
        start_without(folder, weights),
        Loaded(folder, weights),
        Loaded(folder, weights),
    )
    assert first.num_quantized == plain.num_quantized > 0
    assert second.num_quantized == 0
    assert plain == first == second
    (kept,) = files(cache)
    assert kept.name.startswith(f"model-{WeightFormat.parse(weights)}-")
    assert (kept.stat().st_mode & 0o777, cache.stat().st_mode & 0o777) == (0o600, 0o700)
    assert not notices(caplog)


def test_the_same_answers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "find_hardware", lambda name: PackingHardware())
    plain = answers(engine(folder, weights="int4", weight_cache=False), PROMPTS)
    assert answers(engine(folder, weights="int4"), PROMPTS) == plain
    assert answers(engine(folder, weights="int4"), PROMPTS) == plain


def test_weights_as_loaded_are_not_kept(untied: Path, cache: Path) -> None:
    Loaded(untied, "auto")
    assert not files(cache)


def test_a_hardware_without_a_form_keeps_nothing(
    untied: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PackingHardware.ops_class, "packed_form", None)
    assert Loaded(untied).num_quantized
    assert not files(cache)


def test_who_wants_none_gets_none(untied: Path, cache: Path) -> None:
    start_without(untied)
    assert not cache.parent.exists()


def test_the_users_cache_is_the_place(
    untied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("UNISONO_WEIGHT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    Loaded(untied)
    assert len(files(tmp_path / "xdg" / "unisono" / "weights")) == 1


def test_each_rank_keeps_its_own(untied: Path, cache: Path) -> None:
    for rank in range(2):
        shard = Shard(rank=rank, size=2)
        first, second = Loaded(untied, shard=shard), Loaded(untied, shard=shard)
        assert first == second == start_without(untied, shard=shard)
        assert second.num_quantized == 0
    Loaded(untied)
    assert len(files(cache)) == 3


def test_progress_is_told_while_it_quantises(untied: Path) -> None:
    shares: list[float] = []
    Loaded(untied, progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert len(shares) > 5
    later: list[float] = []
    Loaded(untied, progress=later.append)
    assert not later


# -- what it was made from --------------------------------------------------------------------


def test_formats_and_dtypes_are_kept_apart(untied: Path, cache: Path) -> None:
    for weights in ("int4", "int4-g64", "int8"):
        for dtype in ("float32", "bfloat16"):
            assert Loaded(untied, weights, dtype=dtype).num_quantized
            again = Loaded(untied, weights, dtype=dtype)
            assert again.num_quantized == 0
            assert again == start_without(untied, weights, dtype=dtype)
    assert len(files(cache)) == 6


def test_another_layout_is_another_file(
    untied: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Loaded(untied)
    monkeypatch.setattr(type(PackingHardware.ops_class.packed_form), "layout", "plain 2")
    assert Loaded(untied).num_quantized
    assert len(files(cache)) == 2


def other_weights(folder: Path) -> None:
    model = checkpoints.oracle("qwen3", tie_word_embeddings=False, seed=1)
    checkpoints.save(model, folder)


def other_time(folder: Path) -> None:
    path = folder / "model.safetensors"
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))


def other_config(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(path.read_text().replace('"rms_norm_eps": 1e-06', '"rms_norm_eps": 1e-05'))


def other_quantization(folder: Path) -> None:
    stated = {"quantization": {"quant_algo": "FP8"}}
    (folder / "hf_quant_config.json").write_text(json.dumps(stated))


@pytest.mark.parametrize("change", [other_weights, other_time, other_config, other_quantization])
def test_a_changed_checkpoint_is_quantised_anew(
    untied: Path, cache: Path, change: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    Loaded(untied)
    before = files(cache)
    change(untied)
    changed = Loaded(untied)
    assert changed.num_quantized
    assert changed == start_without(untied)
    (notice,) = notices(caplog)
    assert "another state of the checkpoint" in notice
    assert files(cache) == before
    assert Loaded(untied).num_quantized == 0


def test_a_moved_model_is_another(untied: Path, cache: Path) -> None:
    Loaded(untied)
    assert Loaded(untied.rename(untied.with_name("moved"))).num_quantized
    assert len(files(cache)) == 2


def test_a_link_to_the_model_is_the_model(untied: Path, tmp_path: Path) -> None:
    Loaded(untied)
    (tmp_path / "link").symlink_to(untied)
    assert Loaded(tmp_path / "link").num_quantized == 0


def test_a_checkpoint_that_changes_meanwhile_is_not_kept(
    untied: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Loaded(untied, progress=lambda share: other_time(untied))
    (notice,) = notices(caplog)
    assert "changed meanwhile" in notice
    assert not files(cache)


# -- files that are damaged -------------------------------------------------------------------


def flipped(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 4
    path.write_bytes(content)


def data_start(path: Path) -> int:
    return 8 + int.from_bytes(path.read_bytes()[:8], "little")


def first_byte(path: Path) -> None:
    flipped(path, 0)


def a_name(path: Path) -> None:
    flipped(path, path.read_bytes().index(b"self_attn"))


def first_weight(path: Path) -> None:
    flipped(path, data_start(path) + 100)


def last_weight(path: Path) -> None:
    flipped(path, -200)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def checkpoint_instead(path: Path) -> None:
    path.write_bytes((path.parents[2] / "model" / "model.safetensors").read_bytes())


def link_instead(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def for_all_to_write(path: Path) -> None:
    path.chmod(0o666)


def half_of_another_model(path: Path) -> None:
    """Weights that are whole, of the same names and shapes, and of another model."""
    other = path.parents[2] / "other"
    checkpoints.save(checkpoints.oracle("qwen3", tie_word_embeddings=False, seed=2), other)
    Loaded(other)
    (theirs,) = path.parent.glob("other*")
    header = json.loads(path.read_bytes()[8 : data_start(path)])
    middle = data_start(path) + header["lm_head"]["data_offsets"][0]
    assert data_start(path) == data_start(theirs)
    path.write_bytes(path.read_bytes()[:middle] + theirs.read_bytes()[middle:])
    theirs.unlink()


DAMAGES = (
    *(first_byte, a_name, first_weight, last_weight, cut, emptied, checkpoint_instead),
    *(link_instead, for_all_to_write, half_of_another_model),
)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_made_anew(
    untied: Path, cache: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    plain = start_without(untied)
    Loaded(untied)
    (kept,) = files(cache)
    damage(kept)
    repaired = Loaded(untied)
    assert repaired == plain
    assert repaired.num_quantized == plain.num_quantized
    (notice,) = notices(caplog)
    assert str(kept) in notice
    assert "\n" not in notice
    later = Loaded(untied)
    assert later == plain
    assert later.num_quantized == 0
    assert not notices(caplog)
    assert not kept.is_symlink()


# -- where nothing can be kept --------------------------------------------------


def is_file(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.parent.mkdir()
    cache.write_text("")


def is_full(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(cache.parents[1])._replace(free=0)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)


def becomes_full(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add, count = PackedFileWriter.add, [0]

    def failing(self: PackedFileWriter, name: str, data: Tensor) -> None:
        count[0] += 1
        if count[0] > 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        add(self, name, data)

    monkeypatch.setattr(PackedFileWriter, "add", failing)


def cannot_be_synced(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("os.fsync", failing)


def is_taken_by_a_folder(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(self: Path, target: Path) -> None:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))

    monkeypatch.setattr(Path, "replace", refusing)


def loses_its_files(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finish = PackedFileWriter.finish

    def losing(self: PackedFileWriter) -> None:
        finish(self)
        for path in files(cache):
            path.unlink()

    monkeypatch.setattr(PackedFileWriter, "finish", losing)


OBSTACLES = (
    *(is_file, is_full, becomes_full, cannot_be_synced, is_taken_by_a_folder, loses_its_files),
)


@pytest.mark.parametrize("obstacle", OBSTACLES)
def test_where_nothing_can_be_kept_weights_stay_in_memory(
    folder: Path,
    cache: Path,
    obstacle: Callable[[Path, pytest.MonkeyPatch], None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    plain = start_without(folder)
    obstacle(cache, monkeypatch)
    assert Loaded(folder) == plain
    (notice,) = notices(caplog)
    assert "not kept" in notice
    assert "\n" not in notice
    assert cache.is_file() or not files(cache)


def test_a_checkpoint_that_cannot_be_loaded_leaves_nothing(untied: Path, cache: Path) -> None:
    from unisono.core.errors import CheckpointError

    path = untied / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError):
        Loaded(untied)
    assert not files(cache)


# -- several at once ----------------------------------------------------------------------

START = """
import hashlib, sys
from pathlib import Path
import torch
from tests.packing_hardware import PackingHardware
from unisono.models import load_model
torch.set_num_threads(1)
model = load_model(Path(sys.argv[1]), PackingHardware(), weights="int4").model
digest = hashlib.sha256()
for layer in model.layers:
    digest.update(layer.mlp.down_proj.weight.dequantize().numpy().tobytes())
print(digest.hexdigest())
"""


def test_processes_that_start_together(untied: Path, cache: Path) -> None:
    root = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), *sys.path])}
    command = [sys.executable, "-c", START, str(untied)]
    started = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
        for _ in range(3)
    ]
    results = [process.communicate() for process in started]
    assert [errors for _, errors in results] == [b""] * 3
    assert len({output for output, _ in results}) == 1
    assert len(files(cache)) == 1
    assert Loaded(untied).num_quantized == 0
