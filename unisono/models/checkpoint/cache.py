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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from unisono.core.errors import CheckpointError
from unisono.core.weight_format import WeightFormat
from unisono.hardware.weights.packed_form import PackedForm
from unisono.models.checkpoint.formats.stated_quantization import QUANTIZATION_FILES
from unisono.models.checkpoint.packed_file import PackedFileError, PackedFileWriter, map_packed_file
from unisono.models.checkpoint.plan import WeightPlan
from unisono.models.layers.linear import Linear
from unisono.models.parallel import Shard

_FOLDER_VARIABLE = "UNISONO_WEIGHT_CACHE"
_VERSION = "unisono packed weights 1"
"""Another one where other weights are quantised than before."""
_MAX_HEADER_BYTES = 100 << 20
_LENGTH_BYTES = 8


def cache_folder() -> Path:
    """Folder of the files: ``UNISONO_WEIGHT_CACHE``, or ``unisono/weights`` in the user's cache."""
    chosen = os.environ.get(_FOLDER_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    users = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(users).expanduser() / "unisono" / "weights"


class WeightCache:
    """The file of one model in one form.

    Args:
        folder, files: the checkpoint's; a GGUF file has its configuration in it.
        form: the hardware's.
        plan: what the model holds; its linear weights are quantised here.
        shard: None is the whole model; each rank has a file of its own.
    """

    def __init__(
        self,
        folder: Path,
        files: list[Path],
        form: PackedForm,
        plan: WeightPlan,
        shard: Shard | None,
    ) -> None:
        format = plan.format
        assert isinstance(format, WeightFormat)
        self._folder, self._files = folder.resolve(), files
        self._form = form
        self._what = {
            "format": _VERSION,
            "layout": form.layout,
            "weights": f"{format}, head {format.of_head if plan.model.has_head else None}",
            "dtype": str(plan.dtype).removeprefix("torch."),
            "rank": "0 of 1" if shard is None else f"{shard.rank} of {shard.size}",
        }
        key = json.dumps([str(self._folder), *self._what.values()])
        name = re.sub(r"[^\w.-]+", "_", self._folder.name)[:80].lstrip(".")
        digest = hashlib.sha256(key.encode()).hexdigest()[:16]
        self.path = cache_folder() / f"{name}-{format}-{digest}.safetensors"

    def load(self, plan: WeightPlan) -> bool:
        """Give each linear layer that is quantised its weight; False where there is no file yet.

        Raises:
            PackedFileError: it cannot be used; the model is as it was.
        """
        try:
            tensors = map_packed_file(self.path, plan.rounded, self._origin())
            prepared = {
                path: self._form.from_bytes(tensors[path], plan.linear(path).shape, format)
                for path, format in plan.rounded.items()
            }
        except (FileNotFoundError, NotADirectoryError):
            return False
        except CheckpointError as error:
            raise PackedFileError("it is damaged") from error
        for path, weight in prepared.items():
            plan.linear(path).hold(weight)
        return True

    @contextmanager
    def draft(self, plan: WeightPlan) -> Iterator[Callable[[str, Linear], None]]:
        """Yield what takes the quantised weight of each linear layer, which has none then; all of
        them become the file at the end.

        Raises:
            PackedFileError: it cannot be written.
        """
        origin = self._origin()
        bits = sum(
            math.prod(plan.linear(path).shape) * format.bits_per_weight
            for path, format in plan.rounded.items()
        )
        with _writing():
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            writer = PackedFileWriter(self.path, plan.rounded, int(bits / 8), origin)

        def take(path: str, linear: Linear) -> None:
            with _writing():
                writer.add(path, self._form.to_bytes(linear.weight))
            linear.release()

        try:
            yield take
            if origin != self._origin():
                raise PackedFileError("the checkpoint has changed meanwhile")
            with _writing():
                writer.finish()
        finally:
            writer.close()

    def _origin(self) -> dict[str, str]:
        """All that the weights depend on."""
        files = [_state_of(path) for path in self._files]
        stated = (self._folder / name for name in ("config.json", *QUANTIZATION_FILES))
        contents = [path.read_bytes() if path.is_file() else b"" for path in stated]
        hashes = [hashlib.sha256(content).hexdigest() for content in contents]
        digest = hashlib.sha256(json.dumps([*hashes, files]).encode()).hexdigest()
        return {**self._what, "checkpoint": digest}


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PackedFileError(error.strerror or str(error)) from error


def _state_of(path: Path) -> list[Any]:
    """Changes with the tensors that a safetensors file lists, and when it is written to."""
    real = path.resolve()
    status = real.stat()
    with real.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        header = hashlib.sha256(file.read(min(length, _MAX_HEADER_BYTES))).hexdigest()
    return [str(real), status.st_size, status.st_mtime_ns, header]
