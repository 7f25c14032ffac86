"""Quantised weights, kept on the disk between two starts of the same model.

The first start writes each weight to a file as soon as it is quantised and forgets it; then, as
every later one, it maps that file. A file is good for one state of one checkpoint in one form;
for anything else it is made anew. Knows the hardware's ``PackedForm`` and nothing of what is in it.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from unisono.core.errors import CheckpointError
from unisono.core.weight_format import WeightFormat
from unisono.hardware.weights.packed_form import PackedForm
from unisono.models.checkpoint.packed_file import PackedFileError, PackedFileWriter, map_packed_file
from unisono.models.decoder import Decoder
from unisono.models.layers.linear import Linear
from unisono.models.parallel import Shard

__all__ = ["WeightCache", "cache_folder", "format_of"]

_FOLDER_VARIABLE = "UNISONO_WEIGHT_CACHE"
_VERSION = "unisono packed weights 1"
"""Another one where other weights are quantised than before."""
_MAX_HEADER_BYTES = 100 << 20
_LENGTH_BYTES = 8


def cache_folder() -> Path:
    """Where the files are: ``UNISONO_WEIGHT_CACHE``, or ``unisono/weights`` in the user's cache."""
    chosen = os.environ.get(_FOLDER_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    users = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(users).expanduser() / "unisono" / "weights"


def format_of(linear: nn.Module, model: Decoder, format: WeightFormat) -> WeightFormat:
    """The head has one of its own."""
    return format.of_head if linear is model.lm_head else format


class WeightCache:
    """The file of one model in one form.

    Args:
        folder, files: the checkpoint's; a GGUF file has its configuration in it.
        form: the hardware's.
        format: of linear weights but the head.
        dtype: what the checkpoint's weights are converted to first.
        shard: None is the whole model; each rank has a file of its own.
    """

    def __init__(
        self,
        folder: Path,
        files: list[Path],
        form: PackedForm,
        format: WeightFormat,
        dtype: torch.dtype,
        shard: Shard | None,
    ) -> None:
        self._folder, self._files = folder.resolve(), files
        self._config = self._folder / "config.json"
        self._format, self._form = format, form
        self._what = {
            "format": _VERSION,
            "layout": form.layout,
            "weights": f"{format}, head {format.of_head}",
            "dtype": str(dtype).removeprefix("torch."),
            "rank": "0 of 1" if shard is None else f"{shard.rank} of {shard.size}",
        }
        key = json.dumps([str(self._folder), *self._what.values()])
        name = re.sub(r"[^\w.-]+", "_", self._folder.name)[:80].lstrip(".")
        digest = hashlib.sha256(key.encode()).hexdigest()[:16]
        self.path = cache_folder() / f"{name}-{format}-{digest}.safetensors"

    def load(self, model: Decoder) -> bool:
        """Give each linear layer of ``model`` its weight; False where there is no file yet.

        Raises:
            PackedFileError: it cannot be used; ``model`` is as it was.
        """
        linears = _linears(model)
        try:
            tensors = map_packed_file(self.path, linears, self._origin())
            prepared = {
                path: self._form.from_bytes(
                    tensors[path], linear.shape, format_of(linear, model, self._format)
                )
                for path, linear in linears.items()
            }
        except (FileNotFoundError, NotADirectoryError):
            return False
        except CheckpointError as error:
            raise PackedFileError("it is damaged") from error
        for path, linear in linears.items():
            linear.hold(prepared[path])
        return True

    @contextmanager
    def draft(self, model: Decoder) -> Iterator[_Draft]:
        """Takes the weights of ``model``, still without any, and becomes the file at the end.

        Raises:
            PackedFileError: it cannot be written; ``model`` is of no use any more.
        """
        linears, origin = _linears(model), self._origin()
        with _writing():
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            writer = PackedFileWriter(self.path, linears, self._num_bytes(model), origin)
        try:
            yield _Draft(writer, self._form, linears)
            if origin != self._origin():
                raise PackedFileError("the checkpoint has changed meanwhile")
            with _writing():
                writer.finish()
        finally:
            writer.close()

    def _num_bytes(self, model: Decoder) -> int:
        bits = sum(
            math.prod(linear.shape) * format_of(linear, model, self._format).bits_per_weight
            for linear in _linears(model).values()
        )
        return int(bits / 8)

    def _origin(self) -> dict[str, str]:
        """All that the weights depend on."""
        files = [_state_of(path) for path in self._files]
        config = self._config.read_bytes() if self._config.is_file() else b""
        digest = hashlib.sha256(
            json.dumps([hashlib.sha256(config).hexdigest(), files]).encode()
        ).hexdigest()
        return {**self._what, "checkpoint": digest}


class _Draft:
    """Where weights go that are quantised while the model is loaded."""

    def __init__(
        self, writer: PackedFileWriter, form: PackedForm, linears: dict[str, Linear]
    ) -> None:
        self._writer, self._form = writer, form
        self._paths = {id(linear): path for path, linear in linears.items()}

    def take(self, linear: Linear) -> None:
        """Write the weight of ``linear``, which has none then."""
        with _writing():
            self._writer.add(self._paths[id(linear)], self._form.to_bytes(linear.weight))
        linear.hold(None)


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PackedFileError(error.strerror or str(error)) from error


def _linears(model: Decoder) -> dict[str, Linear]:
    """Those whose weights are quantised."""
    return {
        path: module
        for path, module in model.named_modules()
        if isinstance(module, Linear) and module.quantizable
    }


def _state_of(path: Path) -> list[Any]:
    """Changes with the tensors that a safetensors file lists, and when it is written to."""
    real = path.resolve()
    status = real.stat()
    with real.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        header = hashlib.sha256(file.read(min(length, _MAX_HEADER_BYTES))).hexdigest()
    return [str(real), status.st_size, status.st_mtime_ns, header]
