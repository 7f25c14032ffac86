"""Packed weights: made from a tensor, held in memory or in a mapped file, and read back."""

from __future__ import annotations

import ctypes
import mmap
import weakref
from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

from unisono.core.errors import InsufficientMemoryError
from unisono_cpu.library import WeightInfo, call

FORMATS: Final = {
    "f32": 0,
    "bf16": 1,
    "int8": 2,
    "int4": 3,
    "int4z": 4,
    "int8s": 5,
    "int4s": 6,
}
"""``int8`` and ``int4`` are symmetric, ``int4z`` has zero points, ``int8s`` and ``int4s`` add a
shift to the values of a group."""
LAYOUT: Final = "unisono-cpu 2"
"""The version is that of every packed weight's header; all instruction sets share the layout."""
_NAMES = {code: name for name, code in FORMATS.items()}
_SOURCES = {torch.bfloat16: 0, torch.float32: 1, torch.float16: 2}
_ALIGNMENT = 64
_ARENA_BYTES = 64 << 20


class PackedWeight:
    """A weight [N, K] in the library's layout, over a uint8 tensor that stays alive with it.

    Raises:
        CheckpointError: (constructor) the bytes are no packed weight of this version.
    """

    def __init__(self, blob: Tensor) -> None:
        if blob.dtype != torch.uint8 or blob.dim() != 1 or not blob.is_contiguous():
            raise ValueError("A packed weight lies in a contiguous uint8 tensor.")
        info = WeightInfo()
        call("uc_inspect", blob.data_ptr(), blob.numel(), info)
        self.blob = blob[: info.bytes]
        self.address = self.blob.data_ptr()
        self.num_bytes = int(info.bytes)
        self.format = _NAMES[info.format]
        self.group: int | None = int(info.group) or None
        self.shape = (int(info.rows), int(info.cols))
        self.info = info

    def __repr__(self) -> str:
        group = "" if self.group is None else f", groups of {self.group}"
        return f"<PackedWeight {list(self.shape)} {self.format}{group}>"

    def verify(self) -> None:
        """Raises CheckpointError where the bytes are not those that were packed."""
        call("uc_verify", self.address, self.num_bytes)

    def unpack(self) -> Tensor:
        """The values that the products use, float32 [N, K]."""
        out = torch.empty(self.shape)
        call("uc_unpack", self.address, self.num_bytes, out.data_ptr())
        return out


def _describe(
    format: str, group: int | None, scale_dtype: torch.dtype, shape: tuple[int, int]
) -> WeightInfo:
    if format not in FORMATS:
        raise ValueError(f"Format {format!r} is not known. Known: {', '.join(FORMATS)}.")
    info = WeightInfo()
    call("uc_describe", FORMATS[format], group or 0, _SOURCES[scale_dtype], *shape, info)
    return info


def packed_bytes(
    format: str,
    shape: tuple[int, int],
    group: int | None = None,
    scale_dtype: torch.dtype = torch.bfloat16,
) -> int:
    """Size of the packed form of a weight [N, K]."""
    return int(_describe(format, group, scale_dtype, shape).bytes)


class _Arena:
    """Memory for packed weights, one behind the other on large pages, which are read faster. It
    lives as long as any of them."""

    def __init__(self) -> None:
        self._memory: Callable[[], mmap.mmap | None] = lambda: None
        self._used = 0

    def take(self, num_bytes: int) -> Tensor:
        """uint8 [num_bytes] at a multiple of the alignment."""
        memory = self._memory()
        if memory is None or self._used + num_bytes > len(memory):
            memory = _mapped(max(num_bytes, _ARENA_BYTES))
            self._memory, self._used = weakref.ref(memory), 0
        start = self._used
        self._used += -(-num_bytes // _ALIGNMENT) * _ALIGNMENT
        return torch.frombuffer(memory, dtype=torch.uint8, count=num_bytes, offset=start)


def _mapped(num_bytes: int) -> mmap.mmap:
    try:
        memory = mmap.mmap(-1, num_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError as error:
        raise InsufficientMemoryError(
            f"No memory for {num_bytes} bytes of packed weights: {error.strerror}.",
            hint="Quantise more, with --weights int4, or use a smaller model.",
        ) from error
    if hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)
    return memory


_arena = _Arena()


def _room(num_bytes: int, out: Tensor | None) -> Tensor:
    if out is None:
        return _arena.take(num_bytes)
    if out.dtype != torch.uint8 or not out.is_contiguous() or out.numel() < num_bytes:
        raise ValueError(f"out must be uint8, contiguous, of at least {num_bytes} bytes.")
    return out.view(-1)


def pack(
    weight: Tensor,
    format: str,
    group: int | None = None,
    *,
    scale_dtype: torch.dtype = torch.bfloat16,
    out: Tensor | None = None,
) -> PackedWeight:
    """Pack, and quantise, a weight [N, K] of bfloat16, float32 or float16.

    Groups of 32, 64 or 128 inputs share a scale; for int8, None gives each output row one. ``out``
    (uint8) takes the bytes, at a multiple of 64, say of a mapped file. Levels, scales and zeros are
    those of ``unisono.hardware.weights.quantized``, bit for bit.

    Raises:
        CheckpointError: a weight that is to be quantised is not finite.
    """
    if weight.dim() != 2 or weight.dtype not in _SOURCES or weight.device.type != "cpu":
        raise ValueError("weight must be [N, K], bfloat16, float32 or float16, on the CPU.")
    if weight.stride(1) != 1 or weight.stride(0) < weight.shape[1]:
        weight = weight.contiguous()
    info = _describe(format, group, scale_dtype, (weight.shape[0], weight.shape[1]))
    blob = _room(int(info.bytes), out)
    stride = weight.stride(0) if weight.shape[0] > 1 else weight.shape[1]
    call(
        "uc_pack", weight.data_ptr(), _SOURCES[weight.dtype], stride, info, blob.data_ptr(),
        blob.numel(),
    )  # fmt: skip
    return PackedWeight(blob)


def pack_levels(
    levels: Tensor,
    scales: Tensor,
    format: str,
    group: int | None = None,
    *,
    zeros: Tensor | None = None,
    shifts: Tensor | None = None,
    scale_dtype: torch.dtype = torch.bfloat16,
    out: Tensor | None = None,
) -> PackedWeight:
    """Pack levels that are quantised already: uint8 levels [N, K], float32 scales [N, K / group],
    and of the same shape uint8 zeros for int4z, float32 shifts for int4s and int8s. A value is
    (level - zero) * scale, zero being 8 or 128 where there are no zeros; or level * scale + shift.
    Scales and shifts must be numbers of ``scale_dtype``: bfloat16, float16 or float32."""
    rows, cols = levels.shape
    info = _describe(format, group, scale_dtype, (rows, cols))
    count = (rows, int(info.num_scales))
    for name, tensor, dtype, shape in (
        ("levels", levels, torch.uint8, (rows, cols)),
        ("scales", scales, torch.float32, count),
        ("zeros", zeros, torch.uint8, count),
        ("shifts", shifts, torch.float32, count),
    ):
        if tensor is None:
            continue
        if tensor.dtype != dtype or tensor.shape != shape or not tensor.is_contiguous():
            raise ValueError(f"{name} must be {dtype} {list(shape)}, contiguous.")
    blob = _room(int(info.bytes), out)
    call(
        "uc_pack_levels", levels.data_ptr(), scales.data_ptr(),
        None if zeros is None else zeros.data_ptr(),
        None if shifts is None else shifts.data_ptr(), ctypes.byref(info), blob.data_ptr(),
        blob.numel(),
    )  # fmt: skip
    return PackedWeight(blob)
