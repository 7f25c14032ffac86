"""Files written tensor by tensor are the files that safetensors itself reads."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from unisono.models.checkpoint.safetensors_writer import TensorSpec, TensorWriter

TENSORS = {
    "odd": torch.arange(3).bfloat16(),
    "wide": torch.arange(4, dtype=torch.int64).view(2, 2),
    "empty": torch.empty(0, 5),
    "number": torch.tensor(7.0),
    "transposed": torch.arange(6, dtype=torch.int32).view(2, 3).T,
    "half": torch.full((5,), 0.5, dtype=torch.float16),
    "double": torch.full((1,), 0.25, dtype=torch.float64),
}
SPECS = {name: TensorSpec(t.dtype, tuple(t.shape)) for name, t in TENSORS.items()}


def test_one_file_in_any_order(tmp_path: Path) -> None:
    with TensorWriter(tmp_path, SPECS) as writer:
        for name in reversed(TENSORS):
            writer.write(name, TENSORS[name])
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]
    found = load_file(tmp_path / "model.safetensors")
    assert found.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}


def test_each_tensor_is_aligned(tmp_path: Path) -> None:
    with TensorWriter(tmp_path, SPECS) as writer:
        for name, tensor in TENSORS.items():
            writer.write(name, tensor)
    data = (tmp_path / "model.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    assert length % 8 == 0
    header = json.loads(data[8 : 8 + length])
    for name, spec in SPECS.items():
        assert header[name]["data_offsets"][0] % spec.dtype.itemsize == 0


def test_several_files_and_an_index(tmp_path: Path) -> None:
    with TensorWriter(tmp_path, SPECS, file_bytes=40) as writer:
        for name, tensor in TENSORS.items():
            writer.write(name, tensor)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == sum(t.nbytes for t in TENSORS.values())
    files = sorted(set(index["weight_map"].values()))
    assert files == [
        f"model-{i:05}-of-{len(files):05}.safetensors" for i in range(1, len(files) + 1)
    ]
    assert len(files) > 1
    for file in files:
        found = load_file(tmp_path / file)
        assert sum(tensor.nbytes for tensor in found.values()) <= 40
        assert all(index["weight_map"][name] == file for name in found)
        assert all(torch.equal(tensor, TENSORS[name]) for name, tensor in found.items())


def test_a_tensor_that_was_forgotten(tmp_path: Path) -> None:
    with (
        pytest.raises(AssertionError, match="not written"),
        TensorWriter(tmp_path, SPECS) as writer,
    ):
        writer.write("wide", TENSORS["wide"])
