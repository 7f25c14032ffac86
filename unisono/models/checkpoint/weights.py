"""Weights from safetensors files to the device, one tensor at a time.

Files are memory-mapped: a tensor exists once, where it is going to be used. Nothing in a model
folder is executed or unpickled, and an index cannot name files outside its folder.
"""

from __future__ import annotations

import logging
import os.path
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from unisono.core.errors import CheckpointError, UnsupportedModelError
from unisono.core.folder_files import LFS_POINTER, lfs_pointer_error, read_json_object
from unisono.core.weight_format import WeightFormat
from unisono.hardware.base import Hardware
from unisono.hardware.weights.compact_weight import CompactWeight, HeldWeight
from unisono.hardware.weights.ggml_blocks import BlockWeight
from unisono.models.checkpoint.checkpoint import Checkpoint, QuantizedWeights
from unisono.models.checkpoint.formats.stored_values import StoredWeight, join
from unisono.models.checkpoint.names import CheckpointNames, StoredPart
from unisono.models.decoder import Decoder
from unisono.models.layers.linear import Embedding, Linear
from unisono.models.layers.norm import Norm
from unisono.models.parallel import Cut, Plan

__all__ = [
    "TensorHeader",
    "check_complete",
    "check_shape",
    "is_ignorable",
    "linear_parts",
    "load_weights",
    "names_in",
    "num_parameters",
    "open_tensors",
    "read_headers",
    "refuse_unexpected",
    "stored_names",
    "tensor_shapes",
    "weight_files",
]

_log = logging.getLogger(__name__)
_INDEX = "model.safetensors.index.json"
_SINGLE = "model.safetensors"
_MAX_INDEX_BYTES = 64 << 20
_DTYPES = (torch.bfloat16, torch.float16, torch.float32, torch.float64)
_COMPARED_ROWS = 64
_QUANTIZED_PIECES = (
    *(".qweight", ".qzeros", ".g_idx", ".scales", ".weight_scale", ".weight_packed", ".absmax"),
    *(".q_weight", ".q_scale", ".q_perm", ".q_groups", ".SCB", ".weight_scale_inv", "_blocks"),
)
_AGAIN = "The download may be incomplete: fetch the model again."


def num_parameters(model: Decoder) -> int:
    """Number of weights, tied ones counted once."""
    count = sum(parameter.numel() for parameter in model.parameters())
    return count - (model.lm_head.weight.numel() if model.config.tie_embeddings else 0)


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a checkpoint, in order.

    Raises:
        CheckpointError: none there, or one that the index names is missing.
    """
    index = folder / _INDEX
    if (folder / _SINGLE).is_file():  # As in transformers, whatever an index beside it says.
        names = [_SINGLE]
    elif os.path.lexists(index):
        named = read_json_object(index, _MAX_INDEX_BYTES).get("weight_map")
        if not isinstance(named, dict) or not named:
            raise CheckpointError(f"{index} has no weight_map.", hint=_AGAIN)
        names = sorted(set(map(str, named.values())))
    else:
        names = sorted(path.name for path in folder.glob("*.safetensors"))
    if not names:
        begun = any(folder.glob("*.incomplete"))
        raise CheckpointError(
            f"{folder} has no safetensors files.",
            hint=_AGAIN
            if begun
            else "Only safetensors are read: pickled weights (*.bin, *.pt) can run code.",
        )
    for name in names:
        if Path(name).name != name:
            raise CheckpointError(f"{index} names {name!r}, which is not a plain file name.")
    missing = [name for name in names if not os.path.isfile(folder / name)]
    if missing:
        raise CheckpointError(f"{folder} lacks {', '.join(missing)}.", hint=_AGAIN)
    return [folder / name for name in names]


@dataclass(frozen=True, slots=True)
class TensorHeader:
    """A tensor of a checkpoint, unread."""

    path: Path
    dtype: str
    """As safetensors names it: ``BF16``."""
    shape: tuple[int, ...]
    part: StoredPart


def names_in(model: Decoder, stored: Iterable[str]) -> CheckpointNames:
    """How the checkpoint whose tensors are called ``stored`` names what ``model`` has."""
    modules = {name for name, _ in model.named_children()} - {"lm_head"}
    return model.checkpoint_names().found_in(stored, modules)


def stored_names(folder: Path) -> Iterator[str]:
    """Of all tensors of a checkpoint; files are opened one after the other, as they are needed.

    Raises:
        CheckpointError: a file is missing or truncated.
    """
    for path in weight_files(folder):
        with open_tensors(path) as tensors:
            yield from tensors.keys()


def read_headers(folder: Path, names: CheckpointNames) -> dict[str, TensorHeader]:
    """Every tensor of a checkpoint by our name, in the order of its files; without those that
    ``names`` ignores.

    Raises:
        CheckpointError: a file is missing or truncated; a tensor is there twice.
    """
    headers: dict[str, TensorHeader] = {}
    for path in weight_files(folder):
        with open_tensors(path) as tensors:
            for stored in tensors.keys():  # noqa: SIM118 - a safetensors handle, not a dict
                tensor = tensors.get_slice(stored)
                dtype, form = tensor.get_dtype(), torch.empty(tensor.get_shape(), device="meta")
                for part in names.parts(stored):
                    if part.name in headers:
                        refuse_unexpected(stored, path, already=True)
                    shape = tuple(part.view(form).shape)
                    headers[part.name] = TensorHeader(path, dtype, shape, part)
    return headers


@dataclass(frozen=True, slots=True)
class _Slot:
    """Where a checkpoint tensor goes: a parameter of a module, or some rows of it; and what of the
    tensor goes there, where that is not all."""

    module: nn.Module
    parameter: str
    rows: slice | None
    shape: tuple[int, ...]
    cut: Cut | None

    @classmethod
    def of(cls, module: nn.Module, parameter: str, part: str | None, plan: Plan | None) -> _Slot:
        shape = tuple(getattr(module, parameter).shape)
        rows = module.rows(part) if isinstance(module, Linear) and part else None
        if rows is not None:
            shape = (rows.stop - rows.start, *shape[1:])
        cut = None if plan is None else plan.cut(module, part or parameter, shape)
        return cls(module, parameter, rows, shape, cut)

    @property
    def checkpoint_shape(self) -> tuple[int, ...]:
        return self.shape if self.cut is None else self.cut.whole_shape(self.shape)


def _slots(model: Decoder, plan: Plan | None) -> dict[str, _Slot]:
    """Checkpoint name -> slot, for every tensor the model needs."""
    slots: dict[str, _Slot] = {}
    for path, module in model.named_modules():
        for parameter, _ in module.named_parameters(recurse=False):
            if isinstance(module, Linear):
                for part in module.parts:
                    name = _part_name(path, part, parameter)
                    slots[name] = _Slot.of(module, parameter, part, plan)
            else:
                name = _checkpoint_name(f"{path}.{parameter}")
                slots[name] = _Slot.of(module, parameter, None, plan)
    if model.config.tie_embeddings:
        slots.pop("lm_head.weight", None)
    return slots


def _prepared_names(model: Decoder) -> set[str]:
    """Checkpoint names of the linear weights that ``model`` holds already."""
    return {
        _part_name(path, part, "weight")
        for path, module in model.named_modules()
        if isinstance(module, Linear) and module.is_prepared
        for part in module.parts
    }


def _part_name(path: str, part: str, parameter: str) -> str:
    parent = path.rpartition(".")[0]
    return _checkpoint_name(f"{parent}.{part}.{parameter}" if parent else f"{part}.{parameter}")


def tensor_shapes(model: Decoder) -> dict[str, tuple[int, ...]]:
    """Checkpoint name -> shape, of every tensor the model needs."""
    return {name: slot.shape for name, slot in _slots(model, None).items()}


def linear_parts(model: Decoder, *, quantizable: bool = False) -> list[dict[str, tuple[int, ...]]]:
    """For each linear layer, or each that is ``quantizable``, the checkpoint's weights that are
    stacked in it, and their shapes."""
    layers: dict[int, dict[str, tuple[int, ...]]] = {}
    for name, slot in _slots(model, None).items():
        linear = slot.module
        if not isinstance(linear, Linear) or slot.parameter != "weight":
            continue
        if linear.quantizable or not quantizable:
            layers.setdefault(id(slot.module), {})[name] = slot.shape
    return list(layers.values())


def _checkpoint_name(name: str) -> str:
    return name if name.startswith("lm_head.") else f"model.{name}"


def load_weights(
    model: Decoder,
    checkpoint: Checkpoint,
    dtype: torch.dtype,
    hardware: Hardware,
    plan: Plan | None = None,
    format: WeightFormat | None = None,
    quantized: QuantizedWeights | None = None,
    *,
    on_prepared: Callable[[Linear], None] | None = None,
) -> None:
    """Fill ``model`` from a checkpoint, converting to ``dtype`` on the way. Where there is a plan,
    ``model`` is a rank's, and only its parts are read.
    With a ``format`` linear weights are quantised one by one, as they are complete; those of a
    ``quantized`` checkpoint are taken as they are, and ``format`` is for a tied head alone, unless
    the checkpoint ``converts``. Those that are prepared already stay as they are.

    Args:
        on_prepared: told of each linear layer when its weight has been quantised here.

    Raises:
        CheckpointError: a tensor is missing, unexpected, or has another shape than the
            configuration says; a file is truncated.
        UnsupportedModelError: a tensor is quantised.
    """
    slots = _slots(model, plan)
    prepared = _prepared_names(model)
    needed = set(slots)
    filled: dict[tuple[int, str], int] = {}
    parts: dict[int, dict[int, HeldWeight]] = {}
    own_format = format if quantized is None or quantized.converts else None
    names = names_in(model, (name for path in checkpoint.files for name in checkpoint.names(path)))
    spare_head: tuple[Path, StoredPart] | None = None
    beside: list[str] = []
    for path in checkpoint.files:
        known = prepared.union(needed)
        wanted: dict[str, StoredPart] = {}
        for part in (part for stored in checkpoint.names(path) for part in names.parts(stored)):
            name = part.name
            ignorable = is_ignorable(model, name) or (quantized and quantized.is_ignorable(name))
            if ignorable and name == "lm_head.weight":
                spare_head = path, part
            if _owner(name, quantized) in needed and name not in wanted:
                wanted[name] = part
            elif ignorable:
                continue
            elif names.is_beside(part.stored):
                beside.append(part.stored)
            elif _owner(name, quantized) not in known or name in wanted:
                refuse_unexpected(part.stored, path, already=name in slots)
        for part, tensor in checkpoint.tensors(path, list(wanted.values())):
            name = part.name
            weight, owner = _completed(name, tensor, quantized), _owner(name, quantized)
            if weight is None:
                continue
            needed.discard(owner)
            if isinstance(weight, StoredWeight) and _stays(slots[owner].module, own_format):
                _fill_quantized(slots[owner], owner, weight, parts, hardware)
                continue
            if isinstance(weight, StoredWeight):
                weight = weight.hold(hardware.device).dequantize(dtype)
            _fill(slots[owner], part.label, weight, dtype, hardware)
            _prepare_if_complete(model, slots[owner], filled, own_format, on_prepared)
    check_complete(needed, names)
    if beside:
        _log.warning("Not used: %s and %d other tensors.", beside[0], len(beside) - 1)
    if spare_head is not None:
        _check_tied(model, checkpoint, *spare_head)
    if model.config.tie_embeddings and not model.lm_head.is_prepared:
        _tie(model, plan, format, on_prepared)
    for module in model.modules():
        if isinstance(module, Norm):
            module.prepare()


def _owner(name: str, quantized: QuantizedWeights | None) -> str:
    """The weight that a tensor of the checkpoint is, or is a part of."""
    return (None if quantized is None else quantized.owner(name)) or name


def _stays(module: nn.Module, format: WeightFormat | None) -> bool:
    """Whether a stored form is kept, where others become ``format``."""
    if isinstance(module, Linear):
        return format is None and module.takes_stored_forms
    return isinstance(module, Embedding)


def _completed(
    name: str, tensor: Tensor, quantized: QuantizedWeights | None
) -> Tensor | StoredWeight | None:
    """The weight that a tensor of the checkpoint is or completes; None where others are missing."""
    if quantized is None or quantized.owner(name) is None:
        return tensor
    return quantized.add(name, tensor)


def check_complete(missing: Collection[str], names: CheckpointNames) -> None:
    """Raises CheckpointError: tensors that the model needs are missing."""
    if set(missing) == {"lm_head.weight"}:
        raise CheckpointError(
            f"The checkpoint has no {names.stored('lm_head.weight')}, which predicts tokens.",
            hint="It is of the base of a model, or of one that classifies: take the one that"
            ' generates text. If its head is the embedding, "tie_word_embeddings" in config.json'
            " must be true.",
        )
    if missing:
        first = names.stored(min(missing))
        raise CheckpointError(
            f"The checkpoint lacks {len(missing)} tensors, such as {first}.", hint=_AGAIN
        )


def check_shape(name: str, found: tuple[int, ...], expected: tuple[int, ...]) -> None:
    """Raises CheckpointError: another shape than the configuration says."""
    if found != expected:
        raise CheckpointError(
            f"{name} has shape {list(found)}, the configuration says {list(expected)}.",
            hint="config.json and the weights are not of the same model.",
        )


@contextmanager
def open_tensors(path: Path) -> Iterator[Any]:
    """A safetensors file, mapped.

    Raises:
        CheckpointError: truncated, or no such file.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as tensors:
            yield tensors
    except (SafetensorError, OSError) as error:
        if _is_pointer(path):
            raise lfs_pointer_error(path) from error
        reason = str(error).partition("\n")[0]
        raise CheckpointError(f"{path} cannot be read ({reason:.200}).", hint=_AGAIN) from error


def _is_pointer(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(LFS_POINTER)) == LFS_POINTER
    except OSError:
        return False


def is_ignorable(model: Decoder, name: str) -> bool:
    """Whether a checkpoint's tensor carries nothing that the model needs."""
    tied_head = model.config.tie_embeddings and name == "lm_head.weight"
    return tied_head or name.endswith(model.ignored_weights)


def refuse_unexpected(name: str, path: Path, *, already: bool) -> NoReturn:
    """Raises CheckpointError: a tensor of an unknown name, or one that was there ``already``."""
    if ".lora_" in name or ".base_layer." in name:
        raise CheckpointError(
            f"{path} holds an adapter (LoRA) beside the weights: {name}.",
            hint="Merge it once with peft, merge_and_unload() and save_pretrained(FOLDER), and name"
            " FOLDER.",
        )
    if name.endswith(_QUANTIZED_PIECES) and not already:
        raise CheckpointError(
            f"{path} holds quantised weights ({name}), of which config.json states nothing or"
            " something else.",
            hint="Fetch the whole folder again: quantization_config, in the config.json that the"
            " program wrote which quantised them, says how to read them.",
        )
    what = "holds twice" if already else "has a tensor that the configuration does not know:"
    raise CheckpointError(
        f"{path} {what} {name}.", hint="config.json and the weights are not of the same model."
    )


def _check_tied(model: Decoder, checkpoint: Checkpoint, path: Path, part: StoredPart) -> None:
    """Raises CheckpointError: a head is stored beside the embedding that is to serve as the head,
    and it is another one. A few rows tell."""
    table, rows = model.embed_tokens.weight, slice(_COMPARED_ROWS)
    for _, head in checkpoint.tensors(path, [part]):
        if not isinstance(table, Tensor) or head.dtype not in _DTYPES:
            continue
        if head.shape != table.shape or not torch.equal(head[rows].to(table), table[rows]):
            raise CheckpointError(
                f"{part.stored} is not the embedding, and the configuration says that they are "
                "one.",
                hint='If the head is its own, "tie_word_embeddings" in config.json must be false.',
            )


def _tie(
    model: Decoder,
    plan: Plan | None,
    format: WeightFormat | None,
    on_prepared: Callable[[Linear], None] | None,
) -> None:
    """The embedding, or a rank's rows of it, is the head as well."""
    weight, head = model.embed_tokens.weight, model.lm_head
    cut = None if plan is None else plan.cut(head, "lm_head", tuple(head.weight.shape))
    if isinstance(weight, BlockWeight):
        weight = weight if cut is None else weight.narrow(cut.dim, cut.start, cut.length)
        if format is None:
            head.prepare_quantized(weight)
            return
        weight = nn.Parameter(weight.dequantize(weight.dtype), requires_grad=False)
    elif cut is not None:
        weight = nn.Parameter(cut.of(weight), requires_grad=False)
    head.weight = weight
    _prepare(head, None if format is None else format.of_head, on_prepared)


def _fill(slot: _Slot, name: str, source: Tensor, dtype: torch.dtype, hardware: Hardware) -> None:
    check_shape(name, tuple(source.shape), slot.checkpoint_shape)
    if source.dtype not in _DTYPES:
        raise UnsupportedModelError(
            f"{name} is stored as {str(source.dtype).removeprefix('torch.')}.",
            hint="Use the checkpoint in bfloat16, float16 or float32.",
        )
    if isinstance(slot.module, Embedding) and source.dtype == dtype and hardware.shares_host_memory:
        # Looked up a few rows a step: the mapped file serves, and is not copied into memory.
        _assign(slot, source)
        return
    target = getattr(slot.module, slot.parameter)
    if slot.parameter in getattr(slot.module, "float32_parameters", ()):
        dtype = torch.float32
    if target.is_meta:
        target = torch.empty(target.shape, dtype=dtype, device=hardware.device)
        _assign(slot, target)
    place = target if slot.rows is None else target[slot.rows]
    if slot.cut is None:
        place.copy_(source)
    elif slot.cut.zero:
        place.zero_()
    else:
        place.copy_(slot.cut.of(source))


def _fill_quantized(
    slot: _Slot,
    name: str,
    weight: StoredWeight,
    parts: dict[int, dict[int, HeldWeight]],
    hardware: Hardware,
) -> None:
    """Put a part with the others of its layer; hand them to the hardware once all are there."""
    if isinstance(slot.module, Embedding):
        table = weight.hold(hardware.device)
        assert isinstance(table, CompactWeight)
        slot.module.hold(table)
        return
    assert isinstance(slot.module, Linear)
    weight = weight if slot.cut is None else weight.cut(slot.cut, name)
    own = parts.setdefault(id(slot.module), {})
    own[0 if slot.rows is None else slot.rows.start] = weight.hold(hardware.device)
    if len(own) == len(slot.module.parts):
        del parts[id(slot.module)]
        slot.module.prepare_quantized(join([own[start] for start in sorted(own)]))


def _assign(slot: _Slot, tensor: Tensor) -> None:
    setattr(slot.module, slot.parameter, nn.Parameter(tensor, requires_grad=False))


def _prepare_if_complete(
    model: Decoder,
    slot: _Slot,
    filled: dict[tuple[int, str], int],
    format: WeightFormat | None,
    on_prepared: Callable[[Linear], None] | None,
) -> None:
    """Hand a linear weight to the hardware once its last part is there."""
    if not isinstance(slot.module, Linear) or slot.parameter != "weight":
        return
    key = id(slot.module), slot.parameter
    filled[key] = filled.get(key, 0) + 1
    if filled[key] == len(slot.module.parts):
        if format is not None and slot.module is model.lm_head:
            format = format.of_head
        _prepare(slot.module, format, on_prepared)


def _prepare(
    linear: Linear, format: WeightFormat | None, on_prepared: Callable[[Linear], None] | None
) -> None:
    linear.prepare(format)
    if on_prepared is not None and linear.quantizable:
        on_prepared(linear)
