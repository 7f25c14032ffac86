"""From an empty model to one with weights: from the checkpoint, or from what an earlier start kept.

Whatever is wrong with the kept weights, the checkpoint is read instead, and a line in the log says
why.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from unisono.core.weight_format import WeightFormat
from unisono.hardware.base import Hardware
from unisono.hardware.ops.portable import PortableOps
from unisono.models.checkpoint.cache import WeightCache
from unisono.models.checkpoint.checkpoint import Checkpoint, QuantizedWeights
from unisono.models.checkpoint.packed_file import PackedFileError
from unisono.models.checkpoint.weights import load_weights
from unisono.models.config import ModelConfig
from unisono.models.decoder import Decoder
from unisono.models.layers.linear import Linear
from unisono.models.parallel import Plan

__all__ = ["Filling", "Progress"]

Progress = Callable[[float], None]
"""Told which share of the weights has been quantised."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Filling:
    """All that an empty model needs to get its weights; ``plan`` is of a rank's part."""

    family: type[Decoder]
    config: ModelConfig
    plan: Plan | None
    hardware: Hardware
    ops: PortableOps
    checkpoint: Checkpoint
    dtype: torch.dtype
    format: WeightFormat | None
    quantized: QuantizedWeights | None
    progress: Progress | None

    def empty_model(self) -> Decoder:
        """Without weights, the whole or a rank's part."""
        config = self.config if self.plan is None else self.plan.config
        model = self.family(config, self.ops, self.hardware.device)
        if self.plan is not None:
            self.plan.narrow(model)
        return model.eval()

    def fill(self, model: Decoder, take: Callable[[Linear], None] | None = None) -> None:
        """Read what ``model`` lacks from the checkpoint; raises what ``load_weights`` raises.
        ``take`` gets each linear layer as soon as its weight is in its final form."""
        load_weights(
            model,
            self.checkpoint,
            self.dtype,
            self.hardware,
            self.plan,
            self.format,
            self.quantized,
            on_prepared=self._reported(take, model),
        )

    def cached_model(self, cache: WeightCache) -> Decoder:
        """With its quantised weights in the mapped file of ``cache``, which is made where there is
        none; in memory where it cannot be made."""
        try:
            model = self._model_from(cache)
            if model is None:
                self._keep(cache)
                model = self._model_from(cache)
            if model is not None:
                return model
            reason = "the file just made cannot be used"
        except PackedFileError as error:
            reason = str(error)
        _log.warning("Quantised weights are not kept in %s: %s.", cache.path.parent, reason)
        model = self.empty_model()
        self.fill(model)
        return model

    def _model_from(self, cache: WeightCache) -> Decoder | None:
        """None where there is no file that could be used."""
        model = self.empty_model()
        try:
            if not cache.load(model):
                return None
        except PackedFileError as error:
            _log.warning("%s cannot be used: %s. It is made anew.", cache.path, error)
            return None
        self.fill(model)
        return model

    def _keep(self, cache: WeightCache) -> None:
        """Make the file. The model that is filled for it goes: with it, the pages of the checkpoint
        that quantising has touched."""
        model = self.empty_model()
        with cache.draft(model) as draft:
            self.fill(model, draft.take)

    def _reported(
        self, take: Callable[[Linear], None] | None, model: Decoder
    ) -> Callable[[Linear], None] | None:
        """``take``, with a word on how much of the model has been quantised."""
        if self.progress is None or self.format is None:
            return take
        progress, done = self.progress, 0
        linears = [module for module in model.modules() if isinstance(module, Linear)]
        total = sum(math.prod(linear.shape) for linear in linears if linear.quantizable)

        def take_and_tell(linear: Linear) -> None:
            nonlocal done
            if take is not None:
                take(linear)
            done += math.prod(linear.shape)
            progress(done / total)

        return take_and_tell
