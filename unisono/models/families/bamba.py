"""Bamba (IBM, Princeton, CMU and UIUC, 2024) and Granite 4 (IBM, 2025): Mamba-2 in most layers,
attention in the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from unisono.hardware.ops.portable import PortableOps
from unisono.models.checkpoint.names import CheckpointNames
from unisono.models.checkpoint.splits import MergedRows, Split
from unisono.models.families.granite import Granite, GraniteMoe
from unisono.models.hybrid import HybridConfig, HybridDecoder, read_recurrent
from unisono.models.layers.mamba2 import Mamba2, Mamba2Shape
from unisono.models.raw_config import RawConfig

_MAMBA_NAMES = ((".mamba.norm.", ".linear_attn.group_norm."), (".mamba.", ".linear_attn."))


class MambaDecoder(HybridDecoder):
    """Its recurrent layers are of Mamba-2, and checkpoints call them ``mamba``."""

    def make_recurrent(self, ops: PortableOps, config: HybridConfig, layer: int) -> nn.Module:
        assert isinstance(config.state, Mamba2Shape)
        return Mamba2(ops, config.state, config.hidden_size, config.rms_norm_eps, layer)

    def stored_splits(self) -> Sequence[Split]:
        assert isinstance(self.config.state, Mamba2Shape)
        return *super().stored_splits(), MergedRows("in_proj", self.config.state.rows)


class Bamba(MambaDecoder):
    renamed = (
        ("^model.final_layernorm.", "model.norm."),
        (".pre_ff_layernorm.", ".post_attention_layernorm."),
        (".feed_forward.", ".mlp."),
        *_MAMBA_NAMES,
    )

    @classmethod
    def read_config(cls, raw: RawConfig) -> HybridConfig:
        raw.require(hidden_act="silu")
        # Its own code rotates half of a head, whatever the file says.
        raw = raw.with_values(partial_rotary_factor=0.5)
        attention = raw.layer_numbers("attn_layer_indices") or ()
        return HybridConfig.extending(
            raw.dense_decoder(**raw.biases()),
            recurrent=tuple(layer not in attention for layer in range(raw.num_layers)),
            state=Mamba2Shape.read(raw),
        )


_DENSE_NAMES = (
    (".shared_mlp.input_linear.", ".mlp.gate_up_proj."),
    (".shared_mlp.output_linear.", ".mlp.down_proj."),
)


class GraniteHybrid(MambaDecoder, GraniteMoe):
    """Attention that may not rotate; dense or with experts."""

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
        return replace(super().checkpoint_names(), renamed=(*own, *_MAMBA_NAMES))
