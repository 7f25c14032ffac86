"""The file that keeps packed weights: what goes in comes out, and nothing else does."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from unisono.models.checkpoint import packed_file
from unisono.models.checkpoint.packed_file import PackedFileError, PackedFileWriter, map_packed_file

METADATA = {"made of": "tests"}


def numbers(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count,), dtype=torch.uint8, generator=generator)


TENSORS = {"a": numbers(64, 0), "b.weight": numbers(7, 1), "c": numbers(1000, 2)}


def write(path: Path, tensors: dict[str, Tensor] = TENSORS) -> Path:
    writer = PackedFileWriter(path, tensors, 2000, METADATA)
    for name, data in tensors.items():
        writer.add(name, data)
    writer.finish()
    writer.close()
    return path


def read(path: Path) -> dict[str, Tensor]:
    return map_packed_file(path, TENSORS, METADATA)


def assert_read(path: Path) -> None:
    found = read(path)
    assert found.keys() == TENSORS.keys()
    for name, data in TENSORS.items():
        assert torch.equal(found[name][: data.numel()], data)
        assert found[name].data_ptr() % 64 == 0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "kept.safetensors")


def test_what_goes_in_comes_out(path: Path) -> None:
    assert_read(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_it_is_a_safetensors_file(path: Path) -> None:
    for name, data in load_file(path).items():
        assert torch.equal(data[: TENSORS[name].numel()], TENSORS[name])


def test_writing_to_a_tensor_leaves_the_file_alone(path: Path) -> None:
    before = path.read_bytes()
    read(path)["a"].zero_()
    assert path.read_bytes() == before


def test_a_new_file_takes_the_place_of_a_mapped_one(path: Path) -> None:
    mapped = read(path)
    write(path, {name: data.flip(0) for name, data in TENSORS.items()})
    assert torch.equal(mapped["a"], TENSORS["a"])
    assert torch.equal(read(path)["a"], TENSORS["a"].flip(0))


def test_without_finish_nothing_stays(tmp_path: Path) -> None:
    writer = PackedFileWriter(tmp_path / "kept", TENSORS, 2000, METADATA)
    writer.add("a", TENSORS["a"])
    writer.close()
    assert not list(tmp_path.iterdir())


def test_drafts_of_the_dead_are_removed_and_others_stay(tmp_path: Path) -> None:
    old, young = tmp_path / "other.1.draft", tmp_path / "other.2.draft"
    for draft in (old, young):
        draft.touch()
    long_ago = time.time() - 2 * 86400
    os.utime(old, (long_ago, long_ago))
    write(tmp_path / "kept")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["kept", "other.2.draft"]


def test_a_full_disk_is_noticed_first(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="space"):
        PackedFileWriter(tmp_path / "kept", TENSORS, 1 << 60, METADATA)
    assert not list(tmp_path.iterdir())


def test_none_is_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "none")


# -- files that are not what they should be ---------------------------------------------------


def edited_header(path: Path, change: Callable[[dict[str, dict[str, object]]], None]) -> None:
    """Another header of the same length."""
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    change(header)
    path.write_bytes(content[:8] + json.dumps(header).encode().ljust(end - 8) + content[end:])


def swap(header: dict[str, dict[str, object]]) -> None:
    header["a"], header["b.weight"] = header["b.weight"], header["a"]


def overlap(header: dict[str, dict[str, object]]) -> None:
    header["a"]["data_offsets"] = [0, 128]


def beyond(header: dict[str, dict[str, object]]) -> None:
    header["c"]["data_offsets"] = [128, 1 << 40]


def negative(header: dict[str, dict[str, object]]) -> None:
    header["a"]["data_offsets"] = [-64, 64]


def fractions(header: dict[str, dict[str, object]]) -> None:
    header["a"]["data_offsets"] = [0.0, 64.0]


def another(header: dict[str, dict[str, object]]) -> None:
    header["../outside"] = header.pop("a")


def no_metadata(header: dict[str, dict[str, object]]) -> None:
    del header["__metadata__"]


def strange_metadata(header: dict[str, dict[str, object]]) -> None:
    header["__metadata__"] = []  # type: ignore[assignment]


def other_origin(header: dict[str, dict[str, object]]) -> None:
    header["__metadata__"]["made of"] = "tasks"


HEADERS = (
    *(swap, overlap, beyond, negative, fractions, another),
    *(no_metadata, strange_metadata, other_origin),
)


@pytest.mark.parametrize("change", HEADERS)
def test_a_wrong_header(path: Path, change: Callable[[dict[str, dict[str, object]]], None]) -> None:
    edited_header(path, change)
    with pytest.raises(PackedFileError):
        read(path)


@pytest.mark.parametrize("change", [overlap, beyond, negative, fractions])
def test_a_wrong_header_with_the_right_digest(
    path: Path,
    change: Callable[[dict[str, dict[str, object]]], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing outside the file or askew is touched all the same."""
    monkeypatch.setattr(packed_file, "_digest", lambda spans, heads: "always right")
    write(path)
    assert_read(path)
    edited_header(path, change)
    with pytest.raises(PackedFileError):
        read(path)


def test_every_flipped_bit_of_the_header(path: Path) -> None:
    content = bytearray(path.read_bytes())
    for at in range(8 + int.from_bytes(content[:8], "little")):
        content[at] ^= 1 << at % 8
        path.write_bytes(content)
        with contextlib.suppress(PackedFileError):
            assert_read(path)
        content[at] ^= 1 << at % 8


@pytest.mark.parametrize("length", [0, 5, 8, 100, -64, -1])
def test_a_cut_file(path: Path, length: int) -> None:
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(PackedFileError):
        read(path)


def test_something_behind_the_end(path: Path) -> None:
    path.write_bytes(path.read_bytes() + bytes(64))
    with pytest.raises(PackedFileError, match="behind"):
        read(path)


@pytest.mark.parametrize("content", [b"\xff" * 500, b"{}" * 100, (8).to_bytes(8, "little") * 40])
def test_noise(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(PackedFileError):
        read(path)


def test_a_deep_header(path: Path) -> None:
    header = (b"[" * 100_000).ljust(100_024)
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(PackedFileError):
        read(path)


def test_a_file_of_someone_else(path: Path) -> None:
    save_file({"a": TENSORS["a"].clone()}, path)
    with pytest.raises(PackedFileError):
        read(path)


def test_a_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))
    with pytest.raises(PackedFileError):
        read(path)
    write(path)
    assert not path.is_symlink()
    assert_read(path)


def test_no_plain_file(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(PackedFileError, match="plain"):
        read(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(PackedFileError, match="plain"):
        read(path)


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_a_file_that_others_can_write(path: Path, mode: int) -> None:
    path.chmod(mode)
    with pytest.raises(PackedFileError, match="others"):
        read(path)
