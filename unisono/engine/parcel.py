"""Numbers that go to a device in one copy, or come from it in one, however many there are."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

_FLOATS_PER_WORD = 2
_HOST = torch.empty(0).device


def is_host(device: torch.device) -> bool:
    """True where tensors on ``device`` are the host's own, so that nothing has to travel."""
    return device.type == _HOST.type


class Parcel:
    """``add`` lists, then ``send`` them all: on the device they are views of one buffer, which is
    refilled by the next ``send``. Where the device is the host, nothing is copied."""

    def __init__(self) -> None:
        self._buffer: Tensor | None = None
        self._parts: list[Tensor] = []

    def add(self, numbers: Sequence[int] | Sequence[float] | Tensor, *, real: bool = False) -> int:
        """Numbers of one dimension, int64, or float32 where they are ``real``.

        Returns:
            Where to find them in what ``send`` returns.
        """
        dtype = torch.float32 if real else torch.int64
        self._parts.append(torch.as_tensor(numbers, dtype=dtype))
        return len(self._parts) - 1

    def send(self, device: torch.device) -> list[Tensor]:
        """The values added since the last time, in order, on ``device``."""
        parts, self._parts = self._parts, []
        if not parts or is_host(device):
            return parts
        words = _packed(parts)
        size = words.numel()
        if self._buffer is None or self._buffer.numel() < size:
            self._buffer = torch.empty(2 * size, dtype=torch.int64, device=device)
        sent = self._buffer[:size].copy_(words)
        return _unpacked(sent, parts)


def fetch(parts: list[Tensor]) -> list[Tensor]:
    """The same numbers on the host: int64 or float32, each of one dimension."""
    return parts if is_host(parts[0].device) else _unpacked(_packed(parts).cpu(), parts)


def _packed(parts: list[Tensor]) -> Tensor:
    return torch.cat([_as_words(part) for part in parts])


def _unpacked(words: Tensor, parts: list[Tensor]) -> list[Tensor]:
    """Views of ``words``, each like one of the parts."""
    pieces = torch.split(words, [_num_words(part) for part in parts])
    return [
        piece.view(part.dtype)[: part.numel()] for piece, part in zip(pieces, parts, strict=True)
    ]


def _num_words(part: Tensor) -> int:
    return -(-part.nbytes // 8)


def _as_words(part: Tensor) -> Tensor:
    if part.dtype == torch.int64:
        return part
    return F.pad(part, (0, part.numel() % _FLOATS_PER_WORD)).view(torch.int64)
