"""From a model folder to a model on a device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from unisono.core.config import format_bytes
from unisono.core.errors import ConfigError, InsufficientMemoryError
from unisono.hardware.base import Hardware
from unisono.hardware.ops.training import TrainingOps
from unisono.models.adapters.layer_adapters import AdapterRows
from unisono.models.adapters.model_adapters import ModelAdapters
from unisono.models.checkpoint.cache import WeightCache
from unisono.models.checkpoint.end_tokens import end_token_ids
from unisono.models.checkpoint.filling import Filling, Progress
from unisono.models.checkpoint.opening import open_checkpoint
from unisono.models.checkpoint.plan import WeightPlan
from unisono.models.decoder import Decoder
from unisono.models.fusion import fuse
from unisono.models.heads import give_head, head_of, without_tie
from unisono.models.parallel import Division, Shard
from unisono.models.raw_config import RawConfig
from unisono.models.registry import making_sense_of, read_family
from unisono.models.training import check_trainable, let_train
from unisono.models.weight_bytes import are_looked_up, held_bytes, step_bytes, table_bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedModel:
    """A model ready to run, or a rank's part of one, and what its folder says about running it."""

    model: Decoder
    model_type: str
    dtype: torch.dtype
    num_parameters: int
    """Parameters of the whole model."""
    weight_format: str
    """``auto`` (as loaded), or the quantised format of the linear weights."""
    are_looked_up: bool
    """True where linear weights are codes, for which there are no native products."""
    weight_bytes: int
    """On this device."""
    step_weight_bytes: int
    """Read by a step of one token: all but an embedding that is not the head too, and of experts
    those of a token."""
    eos_token_ids: frozenset[int]
    adapters: ModelAdapters
    division: Division | None = None
    """The model's division among ranks; None where it is whole."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reserve:
    """Memory beside the weights."""

    kv_bytes: int = 0
    step_bytes: int = 0
    """The most that a step takes at once."""
    adapter_bytes: int = 0
    """For all adapters that may be loaded."""


def load_model(
    folder: Path,
    hardware: Hardware,
    *,
    dtype: str = "auto",
    reserve: Callable[[WeightPlan], Reserve] = lambda _: Reserve(),
    shard: Shard | None = None,
    weights: str = "auto",
    weight_cache: bool = True,
    progress: Progress | None = None,
    trainable: bool = False,
    task: str = "generate",
) -> LoadedModel:
    """Read the folder's configuration and stream its weights to the device.

    Args:
        folder: a checkpoint's, or a GGUF file.
        dtype: ``auto`` is the checkpoint's own, where the device has it.
        reserve: asked, before any weight is loaded, what memory must be left beside them.
        shard: load the part of this rank alone.
        weights: how linear weights are held, as ``WeightFormat.parse`` reads it; those of a
            quantised checkpoint stay as they are, but codes can become levels.
        weight_cache: keep weights that are quantised here on the disk, and use those that are
            there.
        progress: told which share of the weights has been quantised.
        trainable: parameters require gradients and stay as they are loaded, nothing is packed or
            fused, and ops are differentiable. ``without_cache`` makes the steps of such a model.
        task: of ``EngineConfig``: it says which head the model is loaded with.

    Raises:
        ModelError: the folder cannot be used.
        ConfigError: the model does not divide among so many ranks; or a quantised checkpoint is
            asked for in a format that it cannot have; or a trainable model is to be quantised or
            divided.
        InsufficientMemoryError: weights and reserve do not fit.
    """
    checkpoint = open_checkpoint(folder)
    raw = checkpoint.config
    family, config = read_family(raw)
    head = head_of(task, raw)
    config = without_tie(config, head)
    torch_dtype = choose_dtype(dtype, raw, hardware)
    eos_token_ids = end_token_ids(folder, raw, config.vocab_size)
    division = None if shard is None else Division(config, shard)
    ops = TrainingOps(hardware.ops) if trainable else hardware.ops
    with making_sense_of(raw):
        own = config if division is None else division.config
        model = family(own, ops, hardware.device).eval()
        give_head(model, head, raw)
        if division is not None:
            division.narrow(model)
    plan = WeightPlan(model, checkpoint, torch_dtype, weights, division)
    if trainable:
        check_trainable(folder, plan, shard)
    _check_memory(plan.num_bytes, None, hardware, shard)
    _check_memory(plan.num_bytes, reserve(plan), hardware, shard)
    form = hardware.ops.packed_form if weight_cache and plan.quantizes else None
    filling = Filling(plan, checkpoint, hardware, progress)
    with hardware.activate(), torch.inference_mode(not trainable):
        if form is None:
            filling.fill()
        else:
            filling.fill_with(WeightCache(folder, checkpoint.files, form, plan, shard))
    weight_bytes, step_weight_bytes = held_bytes(model) + table_bytes(model), step_bytes(model)
    rows = AdapterRows()
    fuse(model, ops, rows, divided=division is not None)
    if trainable:
        let_train(model)
    hardware.settle()
    return LoadedModel(
        model=model,
        model_type=str(raw.get("model_type", family.__name__.lower())),
        dtype=torch_dtype,
        num_parameters=plan.num_parameters,
        weight_format=str(plan.format or "auto"),
        are_looked_up=are_looked_up(model),
        weight_bytes=weight_bytes,
        step_weight_bytes=step_weight_bytes,
        eos_token_ids=eos_token_ids,
        adapters=ModelAdapters(model, rows, hardware, torch_dtype, division),
        division=division,
    )


def choose_dtype(wanted: str, raw: RawConfig, hardware: Hardware) -> torch.dtype:
    """The dtype of weights and cache.

    Raises:
        ConfigError: asked for explicitly, and the device does not have it.
    """
    supported = hardware.facts.dtypes
    if wanted == "auto":
        said = [
            config.get(name) for config in (raw, raw.text()) for name in ("dtype", "torch_dtype")
        ]
        own = next((str(name) for name in said if name), "float32")
        wanted = own if own in supported else supported[0]
    elif wanted not in supported:
        raise ConfigError(
            f"{hardware.name} does not support {wanted}.", hint=f"Use {', '.join(supported)}."
        )
    dtype = getattr(torch, wanted)
    assert isinstance(dtype, torch.dtype)
    return dtype


def _check_memory(
    weight_bytes: int, reserve: Reserve | None, hardware: Hardware, shard: Shard | None
) -> None:
    """Compares the free memory with the weights, and with what must be left beside them."""
    beside = reserve or Reserve()
    free = hardware.memory().free
    sharing = 1 if shard is None else shard.sharing
    needed = weight_bytes + beside.kv_bytes + beside.step_bytes + beside.adapter_bytes
    if sharing * needed <= free:
        return
    ranks = f" of each of the {sharing} ranks on it" if sharing > 1 else ""
    needs = f"the weights{ranks} need {format_bytes(weight_bytes)}"
    hint = "Use a 16-bit --dtype, quantised --weights, or a smaller model."
    if reserve is not None:
        needs += (
            f", the KV cache {format_bytes(beside.kv_bytes)} and a step up to "
            f"{format_bytes(beside.step_bytes)}"
        )
        if beside.adapter_bytes:
            needs += f", adapters up to {format_bytes(beside.adapter_bytes)}"
        hint = (
            "Lower --kv-memory, or max_num_batched_tokens, of which a step is made; use a "
            "16-bit --dtype, quantised --weights, or a smaller model."
        )
    raise InsufficientMemoryError(
        f"{hardware.name} has {format_bytes(free)} free; {needs}.", hint=hint
    )
