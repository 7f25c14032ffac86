"""Bamba (IBM, Princeton, CMU and UIUC, 2024): Mamba-2 in most layers, attention in the others."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from unisono.hardware.ops.portable import PortableOps
from unisono.models.checkpoint.splits import MergedRows, Split
from unisono.models.hybrid import HybridConfig, HybridDecoder
from unisono.models.layers.mamba2 import Mamba2, Mamba2Shape
from unisono.models.raw_config import RawConfig

__all__ = ["MAMBA_NAMES", "Bamba", "MambaDecoder"]

MAMBA_NAMES = ((".mamba.norm.", ".linear_attn.group_norm."), (".mamba.", ".linear_attn."))


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
        *MAMBA_NAMES,
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
