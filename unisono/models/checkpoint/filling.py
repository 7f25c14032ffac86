"""From a planned model to one with weights: from the checkpoint, and from what an earlier start
kept.

Every tensor exists once, where it is going to be used. Whatever is wrong with the kept weights, the
checkpoint is read instead, and a line in the log says why.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from unisono.core.errors import CheckpointError
from unisono.hardware.base import Hardware
from unisono.hardware.weights.block_weight import BlockWeight
from unisono.hardware.weights.held_weight import HeldWeight
from unisono.models.checkpoint.cache import WeightCache
from unisono.models.checkpoint.checkpoint import Checkpoint
from unisono.models.checkpoint.names import StoredPart
from unisono.models.checkpoint.packed_file import PackedFileError
from unisono.models.checkpoint.plan import WeightPlan
from unisono.models.checkpoint.refusals import NUMBERS, check_numbers, check_shape
from unisono.models.checkpoint.slots import HEAD, TABLE, Slot
from unisono.models.checkpoint.sources import Sources, find_sources
from unisono.models.layers.gated_delta_net import GatedDeltaNet
from unisono.models.layers.linear import Linear
from unisono.models.layers.moe import Experts
from unisono.models.layers.norm import Norm

Progress = Callable[[float], None]
"""Told which share of the weights has been quantised."""
Take = Callable[[str, Linear], None]
"""Told each linear layer, and its name, whose weight has been quantised."""

_log = logging.getLogger(__name__)
_COMPARED_ROWS = 64


class Filling:
    """Fills the model of ``plan`` from ``checkpoint``.

    Raises:
        CheckpointError: (all methods) a tensor is missing, unexpected, or has another shape than
            the configuration says; a file is truncated.
        UnsupportedModelError: (all methods) a tensor has a dtype that is not read.
    """

    def __init__(
        self,
        plan: WeightPlan,
        checkpoint: Checkpoint,
        hardware: Hardware,
        progress: Progress | None = None,
    ) -> None:
        self._plan, self._checkpoint, self._hardware = plan, checkpoint, hardware
        self._progress = progress

    @cached_property
    def _sources(self) -> Sources:
        return find_sources(self._checkpoint, self._plan)

    def fill(self) -> None:
        """Read what the model lacks; weights that it holds already stay as they are."""
        plan, model = self._plan, self._plan.model
        if plan.stored is None and plan.format is None:
            for module in model.modules():
                if isinstance(module, Experts):
                    module.stack(plan.dtype, self._hardware.device)
        held = {
            name
            for name, weight in plan.weights.items()
            if weight.slot.linear is not None and weight.slot.linear.is_prepared
        }
        self._read(plan.weights.keys() - held, self._told())
        if self._sources.spare_head is not None:
            self._check_tied(*self._sources.spare_head)
        if model.config.tie_embeddings and not model.lm_head.is_prepared:
            self._tie(self._told())
        for module in model.modules():
            if isinstance(module, Norm | GatedDeltaNet):
                module.prepare()

    def fill_with(self, cache: WeightCache) -> None:
        """The same with quantised weights in the mapped file of ``cache``, which is made where
        there is none; in memory where it cannot be made."""
        try:
            if not self._is_mapped(cache):
                self._keep(cache)
                if not self._is_mapped(cache):
                    raise PackedFileError("the file just made cannot be used")
        except PackedFileError as error:
            _log.warning("Quantised weights are not kept in %s: %s.", cache.path.parent, error)
        self.fill()

    def _is_mapped(self, cache: WeightCache) -> bool:
        """True where the model now has its quantised weights in the file."""
        try:
            return cache.load(self._plan)
        except PackedFileError as error:
            _log.warning("%s cannot be used: %s. It is made anew.", cache.path, error)
            return False

    def _keep(self, cache: WeightCache) -> None:
        """Make the file; the model has no weights then, as before."""
        plan = self._plan
        needed = {n for n, w in plan.weights.items() if w.format is not None and not w.as_stored}
        try:
            with cache.draft(plan) as take:
                tell = self._told(take)
                if plan.tied_format is None:
                    self._read(needed, tell)
                else:
                    self._read({*needed, TABLE}, tell)
                    self._tie(tell)
        finally:
            plan.model.embed_tokens.release()
            for path in plan.rounded:
                plan.linear(path).release()

    def _told(self, take: Take | None = None) -> Take:
        """``take``, and a word on how much of the model has been quantised."""
        plan, progress, done = self._plan, self._progress, 0
        total = sum(math.prod(plan.linear(path).shape) for path in plan.rounded)

        def tell(path: str, linear: Linear) -> None:
            nonlocal done
            done += math.prod(linear.shape)
            if take is not None:
                take(path, linear)
            if progress is not None:
                progress(done / total)

        return tell

    def _read(self, names: Collection[str], tell: Take) -> None:
        """Give the model the weights ``names``."""
        plan, stored = self._plan, self._plan.stored
        for path, parts in self._sources.parts.items():
            wanted = [part for part in parts if plan.owner(part.name) in names]
            for part, tensor in self._checkpoint.tensors(path, wanted):
                name = plan.owner(part.name)
                weight: Tensor | HeldWeight | None = tensor
                if stored is not None and stored.owner(part.name) is not None:
                    weight = stored.add(part.name, tensor)
                if weight is not None:
                    self._put(name, part.label, weight)
                    self._finish(plan.weights[name].slot, tell)

    def _put(self, name: str, label: str, weight: Tensor | HeldWeight) -> None:
        """Give a module a weight that it needs; ``label`` is what messages call it."""
        planned, device = self._plan.weights[name], self._hardware.device
        slot = planned.slot
        if isinstance(weight, HeldWeight):
            if planned.as_stored:
                slot.take(weight, name, device)
                return
            weight = weight.to(device).dequantize(planned.dtype)
        check_shape(label, tuple(weight.shape), slot.whole_shape)
        check_numbers(label, weight.dtype)
        slot.fill(weight, planned.dtype, self._hardware)

    def _finish(self, slot: Slot, tell: Take) -> None:
        """Hand a linear weight to the hardware once its last part is there."""
        if slot.linear is None or not slot.linear.is_complete:
            return
        format = self._plan.rounded.get(slot.path)
        slot.linear.prepare(format)
        if format is not None:
            tell(slot.path, slot.linear)

    def _tie(self, tell: Take) -> None:
        """The embedding, or a rank's rows of it, is the head as well."""
        plan, head = self._plan, self._plan.model.lm_head
        weight, cut = plan.model.embed_tokens.weight, plan.head_cut
        if isinstance(weight, BlockWeight):
            weight = weight if cut is None else cut.of_held(weight, HEAD)
            weight = weight if plan.tied_format is None else weight.dequantize(plan.dtype)
        elif cut is not None:
            weight = cut.of(weight)
        if isinstance(weight, HeldWeight):
            head.take("lm_head", weight)
        else:
            is_whole = isinstance(weight, nn.Parameter)
            head.weight = weight if is_whole else nn.Parameter(weight, requires_grad=False)
        head.prepare(plan.tied_format)
        if plan.tied_format is not None:
            tell("lm_head", head)

    def _check_tied(self, path: Path, part: StoredPart) -> None:
        """Raises CheckpointError: a head is stored beside the embedding that is to serve as the
        head, and it is another one. A few rows tell."""
        table, rows = self._plan.model.embed_tokens.weight, slice(_COMPARED_ROWS)
        for _, head in self._checkpoint.tensors(path, [part]):
            if not isinstance(table, Tensor) or head.dtype not in NUMBERS.values():
                continue
            if head.shape != table.shape or not torch.equal(head[rows].to(table), table[rows]):
                raise CheckpointError(
                    f"{part.stored} is not the embedding, and the configuration says that they are "
                    "one.",
                    hint='If the head is its own, "tie_word_embeddings" in config.json must be'
                    " false.",
                )
