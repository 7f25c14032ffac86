"""The adapters that a model holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from unisono.core.batch import BatchRow
from unisono.core.config import format_bytes
from unisono.core.errors import InsufficientMemoryError
from unisono.hardware.base import Hardware
from unisono.models.adapters.adapter_file import Adapter, LowRank, read_adapter
from unisono.models.adapters.layer_adapters import AdapterRows, LayerAdapters
from unisono.models.adapters.places import Places
from unisono.models.decoder import Decoder
from unisono.models.layers.linear import Linear
from unisono.models.parallel import Division

_FORMS = 2
"""Adapters are held as they were read, and stacked as the hardware likes them."""


class ModelAdapters:
    """Adapters beside a model's linear layers, each under a key of its own.

    Layers know them from the first one on: until then they pay nothing.
    """

    def __init__(
        self,
        model: Decoder,
        rows: AdapterRows,
        hardware: Hardware,
        dtype: torch.dtype,
        division: Division | None = None,
    ) -> None:
        self.rows = rows
        self._model, self._hardware, self._dtype, self._division = model, hardware, dtype, division
        self._numbers: dict[str, int] = {}
        self._layers: dict[str, LayerAdapters] = {}
        self._columns: dict[tuple[int, ...], Tensor] = {}
        self._num_loaded = 0

    def load(self, key: str, folder: Path, *, max_rank: int) -> int:
        """Read the adapter in a folder; gives its bytes.

        Raises:
            AdapterError: it is not understood, or does not fit the model.
            InsufficientMemoryError: the device has no room for it.
        """
        places = Places(self._model, self._division)
        adapter = read_adapter(folder, places, self._dtype, max_rank=max_rank)
        num_bytes = _num_bytes(adapter)
        free = self._hardware.memory().free
        if num_bytes > free:
            raise InsufficientMemoryError(
                f"The adapter needs {format_bytes(num_bytes)}; {self._hardware.name} has"
                f" {format_bytes(free)} free.",
                hint="Remove another one, or give --max-adapters: then room is kept.",
            )
        self._num_loaded += 1
        number = self._num_loaded
        with self._hardware.activate(), torch.inference_mode():
            for path, parts in adapter.items():
                self._layer(path).put(number, _on(parts, self._hardware.device))
        self._numbers[key] = number
        self.rows.version += 1
        return num_bytes

    def drop(self, key: str) -> None:
        """Be without an adapter again; its key is of no more use."""
        number = self._numbers.pop(key)
        self.rows.version += 1
        with self._hardware.activate(), torch.inference_mode():
            for layer in self._layers.values():
                layer.put(number, None)
        self._columns = {k: v for k, v in self._columns.items() if number not in k}

    def numbers(self, keys: Sequence[str]) -> list[int]:
        """The numbers of adapters, 0 for no key, as ``rows`` takes them."""
        return [self._numbers[key] if key else 0 for key in keys]

    def apart(self, rows: Sequence[BatchRow]) -> list[list[int]]:
        """The rows, by index, that are computed together: all, or first those without adapters."""
        with_adapter = [i for i, row in enumerate(rows) if row.adapter]
        if not with_adapter or not self.rows.has_fused or len(with_adapter) == len(rows):
            return [list(range(len(rows)))]
        return [[i for i, row in enumerate(rows) if not row.adapter], with_adapter]

    def _layer(self, path: str) -> LayerAdapters:
        if path not in self._layers:
            linear = self._model.get_submodule(path)
            assert isinstance(linear, Linear)
            layer = LayerAdapters(linear, self.rows, self._shared_columns)
            self._layers[path] = linear.addition = layer
        return self._layers[path]

    def _shared_columns(self, numbers: tuple[int, ...]) -> Tensor:
        if numbers not in self._columns:
            self._columns[numbers] = torch.tensor(numbers, device=self._hardware.device)
        return self._columns[numbers]


def adapter_bytes(model: Decoder, dtype: torch.dtype, rank: int) -> int:
    """The most that an adapter of that rank can take beside a model, which may be on the meta
    device."""
    per_rank = sum(
        place.linear.parts[place.part] + place.linear.shape[1]
        for _, place in Places(model)
        if place.linear.takes_adapters
    )
    return _FORMS * rank * per_rank * dtype.itemsize


def _num_bytes(adapter: Adapter) -> int:
    pairs = [pair for parts in adapter.values() for pair in parts.values()]
    return _FORMS * sum(each.nbytes for pair in pairs for each in (pair.down, pair.up))


def _on(parts: Mapping[str, LowRank], device: torch.device) -> dict[str, LowRank]:
    return {name: LowRank(p.down.to(device), p.up.to(device)) for name, p in parts.items()}
