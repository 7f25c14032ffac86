"""Granite 4 (IBM, 2025): Mamba-2 in most layers, attention without rotation in the others, dense or
with experts."""

from __future__ import annotations

from dataclasses import replace

from unisono.models.checkpoint.names import CheckpointNames
from unisono.models.families.bamba import MAMBA_NAMES, MambaDecoder
from unisono.models.families.granite import Granite, GraniteMoe
from unisono.models.hybrid import HybridConfig, read_recurrent
from unisono.models.layers.mamba2 import Mamba2Shape
from unisono.models.raw_config import RawConfig

__all__ = ["GraniteHybrid"]

_DENSE_NAMES = (
    (".shared_mlp.input_linear.", ".mlp.gate_up_proj."),
    (".shared_mlp.output_linear.", ".mlp.down_proj."),
)


class GraniteHybrid(MambaDecoder, GraniteMoe):
    @classmethod
    def read_config(cls, raw: RawConfig) -> HybridConfig:
        raw.require(hidden_act="silu")
        raw = raw.with_defaults(num_local_experts=8, shared_intermediate_size=1024)
        if raw.integer("num_local_experts", least=0):
            base = GraniteMoe.read_config(raw)
        else:
            width = raw.integer("shared_intermediate_size")
            base = replace(Granite.read_config(raw), intermediate_size=width)
        if raw.get("position_embedding_type") is None:
            base = replace(base, layer_ropes=(None,) * base.num_layers)
        else:
            raw.require(position_embedding_type="rope")
        raw = raw.with_defaults(layer_types=raw.get("layers_block_type"))
        all_layers = [True] * base.num_layers
        recurrent = read_recurrent(raw, ("mamba", "linear_attention"), all_layers)
        return HybridConfig.extending(base, recurrent=recurrent, state=Mamba2Shape.read(raw))

    def checkpoint_names(self) -> CheckpointNames:
        own = _DENSE_NAMES if self.config.experts is None else GraniteMoe.renamed
        return replace(super().checkpoint_names(), renamed=(*own, *MAMBA_NAMES))
