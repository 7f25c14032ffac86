"""GGUF headers: what is read, and that nothing in a file is believed."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.waiting import computing_at_most
from unisono.core.errors import CheckpointError, ModelError, ModelNotFoundError
from unisono.core.errors import UnsupportedModelError as Unsupported
from unisono.core.ggml import GGML_TYPES
from unisono.gguf import GgufFile, is_gguf, model_files, only_model_of


def small(path: Path) -> Path:
    """A file with every kind of value, and tensors of two types."""
    writer = GGUFWriter(path, "llama")
    writer.add_uint32("llama.block_count", 3)
    writer.add_float32("number", 0.5)
    writer.add_bool("flag", True)
    writer.add_array("texts", ["one", "zwei", "三"])
    writer.add_array("numbers", [1, 2, 3])
    writer.add_array("floats", [0.5, -1.0])
    writer.add_int64("long", -5)
    writer.add_tensor("plain", np.arange(6, dtype=np.float32).reshape(2, 3))
    blocks = np.zeros((4, 2 * 34), np.uint8)
    writer.add_tensor("blocks", blocks, raw_dtype=GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_the_types_are_the_librarys() -> None:
    sizes = {each.value: size for each, size in gguf.GGML_QUANT_SIZES.items()}
    assert {number: (t.block_size, t.block_bytes) for number, t in GGML_TYPES.items()} == sizes
    assert all(GGMLQuantizationType(number).name == t.name for number, t in GGML_TYPES.items())


def test_a_header_is_read_as_the_library_reads_it(tmp_path: Path) -> None:
    file = GgufFile.read(small(tmp_path / "small.gguf"))
    values = file.metadata
    assert values.required_text("general.architecture") == "llama"
    assert (values.integer("llama.block_count"), values.integer("long")) == (3, -5)
    assert (values.number("number"), values.flag("flag")) == (0.5, True)
    assert values.texts("texts") == ["one", "zwei", "三"]
    assert (values.numbers("numbers"), values.numbers("floats")) == ([1, 2, 3], [0.5, -1.0])
    assert values.text("absent") is None
    theirs = {tensor.name: tensor for tensor in GGUFReader(file.paths[0]).tensors}
    assert theirs.keys() == file.tensors.keys()
    for name, info in file.tensors.items():
        assert info.start == theirs[name].data_offset
        assert info.num_bytes == theirs[name].n_bytes
        assert info.shape == tuple(theirs[name].shape.tolist())[::-1]


def test_a_value_of_another_kind_is_named(tmp_path: Path) -> None:
    values = GgufFile.read(small(tmp_path / "small.gguf")).metadata
    for look_up in (values.text, values.flag, values.texts):
        with pytest.raises(CheckpointError, match=r"small\.gguf: llama\.block_count must be"):
            look_up("llama.block_count")
    with pytest.raises(CheckpointError, match="texts must be a list of numbers"):
        values.numbers("texts")
    with pytest.raises(CheckpointError, match="does not say nothing"):
        values.required_text("nothing")


# -- files that are wrong -----------------------------------------------------------------------


def string(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


def header(
    *,
    magic: bytes = b"GGUF",
    version: int = 3,
    counts: tuple[int, int] = (0, 0),
    body: bytes = b"",
) -> bytes:
    return magic + struct.pack("<IQQ", version, *counts) + body


def tensor(
    name: bytes = b"t", shape: tuple[int, ...] = (32,), type: int = 0, start: int = 0
) -> bytes:
    dims = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
    return string(name) + dims + struct.pack("<IQ", type, start)


def value(kind: int, content: bytes, key: bytes = b"key") -> bytes:
    return string(key) + struct.pack("<I", kind) + content


HUGE = (1 << 63) - 1
BAD: dict[str, tuple[bytes, type[ModelError], str]] = {
    "empty": (b"", CheckpointError, "Fetch the file again"),
    "not GGUF": (b"PK\x03\x04" + bytes(60), CheckpointError, "not a GGUF file"),
    "cut in the counts": (header()[:12], CheckpointError, "within its header"),
    "big-endian": (header(version=3 << 24), Unsupported, "big-endian"),
    "version 1": (header(version=1), Unsupported, "version 1"),
    "version 9": (header(version=9), Unsupported, "version 9"),
    "many tensors": (header(counts=(HUGE, 0)), CheckpointError, "counts"),
    "many values": (header(counts=(0, HUGE)), CheckpointError, "counts"),
    "long key": (header(counts=(0, 1), body=struct.pack("<Q", HUGE)), CheckpointError, "bytes"),
    "key that is cut": (header(counts=(0, 1), body=struct.pack("<Q", 60)), CheckpointError, "ends"),
    "key not UTF-8": (
        header(counts=(0, 1), body=value(4, bytes(4), b"\xff\xfe")),
        CheckpointError,
        "UTF-8",
    ),
    "kind 77": (header(counts=(0, 1), body=value(77, b"")), CheckpointError, "of kind 77"),
    "long list": (
        header(counts=(0, 1), body=value(9, struct.pack("<IQ", 4, HUGE))),
        CheckpointError,
        "entries",
    ),
    "long list of texts": (
        header(counts=(0, 1), body=value(9, struct.pack("<IQ", 8, HUGE))),
        CheckpointError,
        "texts",
    ),
    "list of texts that is cut": (
        header(counts=(0, 1), body=value(9, struct.pack("<IQQ", 8, 3, HUGE))),
        CheckpointError,
        "ends",
    ),
    "list of lists": (
        header(counts=(0, 1), body=value(9, struct.pack("<IQ", 9, 1))),
        CheckpointError,
        "of kind 9",
    ),
    "twice the same key": (
        header(counts=(0, 2), body=value(4, bytes(4)) * 2),
        CheckpointError,
        "twice",
    ),
    "twice the same tensor": (header(counts=(2, 0), body=tensor() * 2), CheckpointError, "twice"),
    "nine dimensions": (
        header(counts=(1, 0), body=tensor(shape=(1,) * 9)),
        CheckpointError,
        "9 dimensions",
    ),
    "a dimension of 0": (header(counts=(1, 0), body=tensor(shape=(0,))), CheckpointError, "shape"),
    "absurd dimensions": (
        header(counts=(1, 0), body=tensor(shape=(HUGE, HUGE))),
        CheckpointError,
        "shape",
    ),
    "type 99": (header(counts=(1, 0), body=tensor(type=99)), Unsupported, "type 99"),
    "part of a block": (
        header(counts=(1, 0), body=tensor(shape=(33,), type=8)),
        CheckpointError,
        "shape",
    ),
    "start beyond the end": (
        header(counts=(1, 0), body=tensor(start=1 << 40)),
        CheckpointError,
        "ends before",
    ),
    "start not aligned": (header(counts=(1, 0), body=tensor(start=4)), CheckpointError, "aligned"),
    "no data": (header(counts=(1, 0), body=tensor()), CheckpointError, "ends before"),
    "alignment 0": (
        header(counts=(0, 1), body=value(4, bytes(4), b"general.alignment")),
        CheckpointError,
        "general.alignment",
    ),
    "alignment 24": (
        header(counts=(0, 1), body=value(4, struct.pack("<I", 24), b"general.alignment")),
        CheckpointError,
        "general.alignment",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_refused(case: str, tmp_path: Path) -> None:
    content, error, words = BAD[case]
    path = tmp_path / "bad.gguf"
    path.write_bytes(content)
    with pytest.raises(error, match=words) as caught:
        GgufFile.read(path)
    assert "bad.gguf" in caught.value.message


def test_a_folder_or_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be read"):
        GgufFile.read(tmp_path / "absent.gguf")
    (tmp_path / "folder.gguf").mkdir()
    assert not is_gguf(tmp_path / "folder.gguf")


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, Path]:
    path = small(tmp_path_factory.mktemp("fuzz") / "small.gguf")
    return path.read_bytes(), path


@settings(max_examples=400)
@given(
    changes=st.lists(st.tuples(st.integers(0, 600), st.integers(0, 255)), min_size=1, max_size=6)
)
def test_flipped_bytes_never_do_worse_than_a_typed_error(
    content: tuple[bytes, Path], changes: list[tuple[int, int]]
) -> None:
    whole, path = content
    data = bytearray(whole)
    for at, byte in changes:
        data[at % len(data)] = byte
    path.write_bytes(data)
    try:
        with computing_at_most(10):
            file = GgufFile.read(path)
        for look_up in (file.metadata.texts, file.metadata.numbers, file.metadata.integer):
            look_up("texts")
    except ModelError:
        return
    for info in file.tensors.values():
        assert 0 <= info.start <= info.start + info.num_bytes <= len(data)


@settings(max_examples=60)
@given(length=st.integers(0, 700))
def test_a_file_that_is_cut_is_refused(content: tuple[bytes, Path], length: int) -> None:
    whole, path = content
    path.write_bytes(whole[: min(length, len(whole) - 1)])
    with computing_at_most(10), pytest.raises(CheckpointError):
        GgufFile.read(path)


# -- models of several files ----------------------------------------------------------------------


def split(folder: Path, **changes: Any) -> list[Path]:
    paths = []
    for index in range(3):
        path = folder / f"m-{index + 1:05}-of-00003.gguf"
        writer = GGUFWriter(path, "llama")
        writer.add_uint16("split.no", changes.get("no", index))
        writer.add_uint16("split.count", changes.get("count", 3))
        name = changes.get("name", f"t{index}")
        writer.add_tensor(name, np.zeros((2, 2), np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        paths.append(path)
    return paths


def test_any_file_of_a_split_model_means_all(tmp_path: Path) -> None:
    paths = split(tmp_path)
    for path in paths:
        assert model_files(path) == paths
        file = GgufFile.read(path)
        assert [info.path for info in file.tensors.values()] == paths
    assert only_model_of(tmp_path) == paths[0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"no": 0}, "it is file 0"), ({"count": 2}, "of 2"), ({"name": "same"}, "holds same again")],
)
def test_files_that_do_not_go_together(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=words):
        GgufFile.read(split(tmp_path, **changes)[0])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    paths = split(tmp_path)
    paths[1].unlink()
    with pytest.raises(CheckpointError, match=r"lacks m-00002-of-00003\.gguf"):
        model_files(paths[0])


def test_a_folder_with_several_models(tmp_path: Path) -> None:
    assert only_model_of(tmp_path) is None
    one = small(tmp_path / "one.gguf")
    small(tmp_path / "mmproj-one.gguf")
    assert only_model_of(tmp_path) == one
    small(tmp_path / "two.gguf")
    with pytest.raises(ModelNotFoundError, match=r"holds 2 models: one\.gguf, two\.gguf"):
        only_model_of(tmp_path)
