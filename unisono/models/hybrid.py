"""The decoder that families with recurrent layers share: some layers keep a state of fixed size in
place of keys and values. A family says what such a layer is; the others have attention."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn

from unisono.core.cache import LayerCache
from unisono.hardware.ops.portable import PortableOps
from unisono.models.config import ModelConfig
from unisono.models.decoder import Decoder
from unisono.models.layers.residual import RecurrentLayer
from unisono.models.raw_config import RawConfig


class StateShape(Protocol):
    """Sizes of a recurrent layer."""

    def cache(self, dtype: str) -> LayerCache:
        """The state that the layer keeps; ``dtype`` is that of activations."""

    @property
    def flops(self) -> int:
        """Operations of a token between projections."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HybridConfig(ModelConfig):
    recurrent: tuple[bool, ...]
    """One entry a layer."""
    state: StateShape


class HybridDecoder(Decoder):
    config: HybridConfig

    @abstractmethod
    def make_recurrent(self, ops: PortableOps, config: HybridConfig, layer: int) -> nn.Module:
        """Called (x [T, H], step) -> [T, H]."""

    def make_layer(self, ops: PortableOps, config: ModelConfig, layer: int) -> nn.Module:
        assert isinstance(config, HybridConfig)
        if not config.recurrent[layer]:
            return super().make_layer(ops, config, layer)
        mixer = self.make_recurrent(ops, config, layer)
        return RecurrentLayer(ops, config, mixer, self.make_mlp(ops, config, layer))

    def attention_flops(self, layer: int, length: int) -> int:
        if self.config.recurrent[layer]:
            return length * self.config.state.flops
        return super().attention_flops(layer, length)

    def layer_caches(self, dtype: torch.dtype) -> list[LayerCache]:
        state = self.config.state.cache(str(dtype).removeprefix("torch."))
        layers = zip(self.config.recurrent, super().layer_caches(dtype), strict=True)
        return [state if is_recurrent else full for is_recurrent, full in layers]


def read_recurrent(
    raw: RawConfig, names: Sequence[str], default: Sequence[bool]
) -> tuple[bool, ...]:
    """The recurrent layers by ``layer_types``, where ``names`` are those that are; without
    it, ``default``.

    Raises:
        LayerListError: another type of layer, or not one for each.
    """
    kinds = raw.per_layer("layer_types", *names, "full_attention", "attention")
    return tuple(kind in names for kind in kinds) if kinds else tuple(default)
