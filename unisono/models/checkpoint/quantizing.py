"""From a model folder to one with quantised linear weights, tensor by tensor.

The levels are those of ``hardware/weights/quantized.py``, so that the new folder answers as the old
one does with ``weights`` set to the same format. Knows no command line.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from unisono.core.errors import CheckpointError, ConfigError, UnsupportedModelError
from unisono.core.weight_format import WeightFormat
from unisono.gguf.files import is_gguf
from unisono.hardware.ops.portable import PortableOps
from unisono.hardware.weights.quantized import quantize
from unisono.models.checkpoint.formats.pack_quantized import (
    pack,
    packed_tensors,
    quantization_config,
)
from unisono.models.checkpoint.formats.stated_quantization import (
    quantization_beside,
    stated_quantization,
)
from unisono.models.checkpoint.model_card import QuantizedFolder, model_card
from unisono.models.checkpoint.new_folder import check_out, unfinished
from unisono.models.checkpoint.opening import CheckpointFolder
from unisono.models.checkpoint.plan import WeightPlan
from unisono.models.checkpoint.refusals import NUMBERS, check_numbers, check_shape
from unisono.models.checkpoint.safetensors_files import TensorHeader, read_headers
from unisono.models.checkpoint.safetensors_writer import TensorSpec, TensorWriter
from unisono.models.checkpoint.slots import HEAD
from unisono.models.checkpoint.sources import find_sources
from unisono.models.raw_config import RawConfig
from unisono.models.registry import read_family


class QuantizePlan:
    """The plan of quantising a folder, checked before the first weight is read.

    Raises:
        CheckpointError: (constructor) the folder is incomplete, or contradicts itself.
        UnsupportedModelError: an unknown family or dtype; or it is quantised already.
        ConfigError: groups of this size do not divide every weight.
    """

    def __init__(self, folder: Path, format: WeightFormat) -> None:
        _refuse_gguf(folder)
        self.folder, self.format = folder, format
        self._raw = RawConfig.load(folder)
        _refuse_quantized(self._raw, folder)
        family, config = read_family(self._raw)
        model = family(config, PortableOps(), torch.device("cpu"))
        # Numbers keep the dtypes that they have.
        checkpoint = CheckpointFolder(folder)
        plan = WeightPlan(model, checkpoint, torch.float32, str(format))
        self._sources = _checked_sources(checkpoint, plan)
        self._formats = {
            name: weight.format
            for name, weight in plan.weights.items()
            if isinstance(weight.format, WeightFormat)
        }
        linear = {name for name, weight in plan.weights.items() if weight.slot.linear is not None}
        self._kept = sorted({name.split(".")[-2] for name in linear - self._formats.keys()})
        self._check_groups()
        self._specs = {
            part: spec for name in self._sources for part, spec in self._specs_of(name).items()
        }

    def _check_groups(self) -> None:
        columns = {name: self._sources[name].shape[1] for name in self._formats}
        wrong = {name: k for name, k in columns.items() if k % self.format.group_size}
        if not wrong:
            return
        kinds = {f"{name.split('.')[-2]} ({k} inputs)": None for name, k in wrong.items()}
        fitting = [g for g in (128, 64, 32) if all(k % g == 0 for k in columns.values())]
        raise ConfigError(
            f"Groups of {self.format.group_size} do not divide {len(wrong)} weights:"
            f" {', '.join(kinds)}.",
            hint=f"Groups of {fitting[0]} do: put -g{fitting[0]} behind the format."
            if fitting
            else "None of 32, 64 and 128 does: this form cannot hold the model.",
        )

    def _specs_of(self, name: str) -> dict[str, TensorSpec]:
        """The tensors that stand for one of the source's."""
        source, out = self._sources[name], self._out_name(name)
        if name not in self._formats:
            return {out: TensorSpec(NUMBERS[source.dtype], source.shape)}
        pieces = packed_tensors(self._formats[name], source.shape)
        module = out.removesuffix("weight")
        return {f"{module}{piece}": TensorSpec(*spec) for piece, spec in pieces.items()}

    def _out_name(self, name: str) -> str:
        """Name in the new folder: the stored one, or ours where a tensor holds several weights."""
        part = self._sources[name].part
        return part.stored if part.is_whole else name

    @property
    def tensor_names(self) -> list[str]:
        """Tensors of the source, in the order in which they are read."""
        return list(self._sources)

    @property
    def num_bytes(self) -> int:
        """Bytes of all tensors that will be written."""
        return sum(spec.num_bytes for spec in self._specs.values())

    def write(
        self,
        out: Path,
        *,
        source: str,
        companions: Mapping[str, Path] | None = None,
        on_tensor: Callable[[str], None] = lambda name: None,
        file_bytes: int = 4 * 10**9,
    ) -> QuantizedFolder:
        """Write the folder beside ``out`` and give it that name when it is complete.

        Args:
            source: what the model card calls the original: a hub id, or the name of a folder.
            companions: files that go along as they are, by their path in the folder: tokenizer,
                generation settings.
            on_tensor: told the name of each tensor of the source before it is read.
            file_bytes: most bytes of weights in a file.

        Raises:
            ConfigError: ``out`` is there and not an empty folder, or has not the room.
            CheckpointError: a weight is not finite.
            ModelError: the files cannot be written.
        """
        check_out(out)
        with unfinished(out, self.num_bytes) as folder:
            with TensorWriter(folder, self._specs, file_bytes=file_bytes) as writer:
                for name, tensor in _read(self.folder, self._sources):
                    on_tensor(name)
                    for part, written in self._tensors_of(name, tensor).items():
                        writer.write(part, written)
            result = self._summary(out)
            self._write_words(folder, result, source)
            for name, path in (companions or {}).items():
                (folder / name).parent.mkdir(exist_ok=True)
                shutil.copyfile(path, folder / name)
        return result

    def _tensors_of(self, name: str, tensor: Tensor) -> dict[str, Tensor]:
        out = self._out_name(name)
        if name not in self._formats:
            return {out: tensor.contiguous()}
        try:
            weight = quantize(tensor, self._formats[name])
        except CheckpointError as error:
            raise CheckpointError(f"{name}: {error.message}", hint=error.hint) from error
        return {f"{out.removesuffix('weight')}{p}": part for p, part in pack(weight).items()}

    def _summary(self, out: Path) -> QuantizedFolder:
        packed = [self._specs_of(name).values() for name in self._formats]
        num_weights = sum(math.prod(self._sources[name].shape) for name in self._formats)
        return QuantizedFolder(
            folder=out,
            format=str(self.format),
            num_quantized=len(self._formats),
            bits_per_weight=8 * sum(s.num_bytes for specs in packed for s in specs) / num_weights,
            bytes_before=sum(_num_bytes(source) for source in self._sources.values()),
            bytes_after=self.num_bytes,
        )

    def _write_words(self, folder: Path, result: QuantizedFolder, source: str) -> None:
        head = self._formats.get(HEAD)
        stated = quantization_config(self.format, head, kept=self._kept)
        config = {**self._raw.values, "quantization_config": stated}
        text = json.dumps(config, indent=2, ensure_ascii=False)
        (folder / "config.json").write_text(text + "\n", encoding="utf-8")
        card = model_card(result, source=source, layers=self.format, head=head)
        (folder / "README.md").write_text(card, encoding="utf-8")


def _refuse_gguf(path: Path) -> None:
    if is_gguf(path):
        raise UnsupportedModelError(
            f"{path.name} is a GGUF file, which `unisono quantize` does not rewrite.",
            hint="Run it as it is, or quantise the folder of safetensors it was made from.",
        )


def _refuse_quantized(raw: RawConfig, folder: Path) -> None:
    if stated_quantization(raw) or quantization_beside(folder):
        raise UnsupportedModelError(
            "The model is quantised already.",
            hint="Rounding twice loses twice: take the checkpoint it was made from.",
        )


def _checked_sources(checkpoint: CheckpointFolder, plan: WeightPlan) -> dict[str, TensorHeader]:
    """The tensors that the model needs, by our names, in the order in which they are read."""
    sources = find_sources(checkpoint, plan)
    headers = read_headers(checkpoint.folder, sources.names)
    needed = {part.name: headers[part.name] for own in sources.parts.values() for part in own}
    for name, header in needed.items():
        check_shape(header.part.label, header.shape, plan.weights[name].slot.shape)
        check_numbers(header.part.label, header.dtype)
    return needed


def _num_bytes(header: TensorHeader) -> int:
    return math.prod(header.shape) * NUMBERS[header.dtype].itemsize


def _read(folder: Path, sources: dict[str, TensorHeader]) -> Iterator[tuple[str, Tensor]]:
    """Every tensor, one at a time, a file after the other."""
    checkpoint = CheckpointFolder(folder)
    for path in dict.fromkeys(header.path for header in sources.values()):
        parts = [header.part for header in sources.values() if header.path == path]
        for part, tensor in checkpoint.tensors(path, parts):
            yield part.name, tensor
