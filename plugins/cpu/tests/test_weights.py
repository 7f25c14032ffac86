"""Packing: what goes in comes out, sizes, and blobs that are not what they should be."""

from __future__ import annotations

import weakref
from pathlib import Path

import pytest
import torch
import unisono_cpu as uc
from torch import Tensor

from unisono.core.errors import CheckpointError

ALL = [
    ("f32", None),
    ("bf16", None),
    ("int8", None),
    *((name, group) for name in ("int8", "int4", "int4z") for group in (32, 64, 128)),
]
SHAPES = [(1, 1), (33, 70), (96, 128), (31, 300)]


LEVELS = [*ALL[2:], ("int8", 16), *((name, 16 * n) for name in ("int8s", "int4s") for n in (2, 8))]


def num_levels(format: str) -> int:
    return 16 if "4" in format else 256


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_floats_come_back_exactly(isa: str, shape: tuple[int, int], dtype: torch.dtype) -> None:
    weight = torch.randn(shape).to(dtype)
    assert torch.equal(uc.pack(weight, "f32").unpack(), weight.float())
    rounded = weight.float().bfloat16().float()
    assert torch.equal(uc.pack(weight, "bf16").unpack(), rounded)


@pytest.mark.parametrize(("format", "group"), LEVELS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scale_dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_levels_come_back_exactly(
    isa: str, format: str, group: int | None, shape: tuple[int, int], scale_dtype: torch.dtype
) -> None:
    rows, cols = shape
    num_scales = 1 if group is None else -(-cols // group)
    levels = torch.randint(0, num_levels(format), shape, dtype=torch.uint8)
    scales, shifts = (torch.rand(rows, num_scales).to(scale_dtype).float() for _ in range(2))
    scales[0, 0] = 2.0**-20  # A small number of float16.
    zeros = torch.randint(0, 16, (rows, num_scales), dtype=torch.uint8)
    with_zeros, shifted = format == "int4z", format.endswith("s")
    packed = uc.pack_levels(
        levels, scales, format, group, zeros=zeros if with_zeros else None,
        shifts=shifts if shifted else None, scale_dtype=scale_dtype,
    )  # fmt: skip
    middle = torch.full_like(zeros, 0 if shifted else num_levels(format) // 2)
    if with_zeros:
        middle = zeros
    by_column = torch.arange(cols) // (group or cols)
    expected = (levels.float() - middle.float()[:, by_column]) * scales[:, by_column]
    if shifted:
        expected += shifts[:, by_column]
    assert torch.equal(packed.unpack(), expected)
    packed.verify()


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_do_not_matter(threads: int) -> None:
    weight = torch.randn(100, 96)
    uc.set_threads(1)
    alone = uc.pack(weight, "int4", 32)
    uc.set_threads(threads)
    assert torch.equal(uc.pack(weight, "int4", 32).blob, alone.blob)


def test_a_strided_source_packs_as_its_copy() -> None:
    wide = torch.randn(40, 200)
    assert torch.equal(
        uc.pack(wide[:, :100], "bf16").blob, uc.pack(wide[:, :100].contiguous(), "bf16").blob
    )
    assert torch.equal(uc.pack(wide.T, "bf16").unpack(), wide.T.bfloat16().float())


def test_embedding(isa: str) -> None:
    weight = torch.randn(70, 50)
    packed = uc.pack(weight, "int8")
    ids = torch.tensor([0, 69, 33, 33])
    assert torch.equal(uc.embedding(ids, packed, dtype=torch.float32), packed.unpack()[ids])
    half = uc.embedding(ids, packed, dtype=torch.bfloat16)
    assert torch.equal(half, packed.unpack()[ids].bfloat16())
    with pytest.raises(ValueError, match="70"):
        uc.embedding(torch.tensor([70]), packed, dtype=torch.float32)


def test_a_mapped_file(tmp_path: Path) -> None:
    packed = uc.pack(torch.randn(64, 64), "int4", 32)
    path = tmp_path / "weight"
    path.write_bytes(packed.blob.numpy().tobytes())
    mapped = torch.from_file(str(path), shared=False, size=packed.num_bytes, dtype=torch.uint8)
    again = uc.PackedWeight(mapped)
    again.verify()
    x = torch.randn(3, 64)
    assert torch.equal(uc.linear(x, again), uc.linear(x, packed))


def _changed(blob: Tensor, at: int) -> Tensor:
    copy = uc.weights._room(blob.numel(), None)
    copy.copy_(blob)
    copy[at] ^= 255
    return copy


@pytest.mark.parametrize("at", [0, 8, 12, 16, 24, 32, 36, 40])
def test_a_foreign_header_is_refused(at: int) -> None:
    blob = uc.pack(torch.randn(64, 64), "int4", 32).blob
    with pytest.raises(CheckpointError):
        uc.PackedWeight(_changed(blob, at)).verify()


def test_damage_is_found() -> None:
    blob = uc.pack(torch.randn(64, 64), "int4", 32).blob
    for at in (128, 1000, blob.numel() - 1):
        with pytest.raises(CheckpointError, match="checksum"):
            uc.PackedWeight(_changed(blob, at)).verify()
    with pytest.raises(CheckpointError):
        uc.PackedWeight(blob[:-1])
    with pytest.raises(CheckpointError):
        uc.PackedWeight(blob[:10])


def test_weights_share_memory_that_goes_with_the_last_of_them() -> None:
    arena = uc.weights._Arena()
    first, second = arena.take(100), arena.take(1000)
    assert second.data_ptr() == first.data_ptr() + 128
    memory = arena._memory()
    assert memory is not None
    large = arena.take(len(memory) + 1)
    assert arena._memory() is not memory
    assert large.numel() == len(memory) + 1
    dies = weakref.ref(memory)
    del memory, first
    second.fill_(7)
    assert dies() is not None
    del second
    assert dies() is None


def test_bad_requests() -> None:
    weight = torch.randn(8, 8)
    with pytest.raises(ValueError, match="int4z"):
        uc.pack(weight, "int5")
    with pytest.raises(ValueError, match="group 48"):
        uc.pack(weight, "int4", 48)
    with pytest.raises(ValueError, match="group"):
        uc.pack(weight, "int4")
    with pytest.raises(ValueError, match="uint8"):
        uc.pack(weight, "bf16", out=torch.empty(10, dtype=torch.uint8))
    with pytest.raises(ValueError, match="float32"):
        uc.pack(weight.double(), "bf16")
    with pytest.raises(ValueError, match="level"):
        uc.pack_levels(torch.full((1, 32), 16, dtype=torch.uint8), torch.ones(1, 1), "int4", 32)


def test_sizes_are_those_of_the_format() -> None:
    shape = (4096, 1024)
    values = shape[0] * shape[1]
    assert uc.packed_bytes("bf16", shape) == 128 + 2 * values
    assert uc.packed_bytes("int4", shape, 32) == 128 + values // 2 + 2 * values // 32
    assert uc.packed_bytes("int8", shape) == 128 + values + 2 * shape[0]
    assert uc.packed_bytes("int4z", shape, 32) == 128 + values // 2 + 3 * values // 32
