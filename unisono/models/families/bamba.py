"""Bamba (IBM, Princeton, CMU and UIUC, 2024): Mamba-2 in most layers, attention in the others."""

from __future__ import annotations

from torch import nn

from unisono.hardware.ops.portable import PortableOps
from unisono.models.checkpoint.names import CheckpointNames
from unisono.models.checkpoint.splits import MergedRows
from unisono.models.hybrid import HybridConfig, HybridDecoder, hybrid
from unisono.models.layers.mamba2 import Mamba2, Mamba2Shape
from unisono.models.raw_config import RawConfig

__all__ = ["Bamba", "MambaDecoder"]


class MambaDecoder(HybridDecoder):
    """Its recurrent layers are of Mamba-2, and checkpoints call them ``mamba``."""

    def make_recurrent(self, ops: PortableOps, config: HybridConfig, layer: int) -> nn.Module:
        assert isinstance(config.state, Mamba2Shape)
        return Mamba2(ops, config.state, config.hidden_size, config.rms_norm_eps, layer)

    def mamba_names(self) -> CheckpointNames:
        """Checkpoint names of the parameters of a recurrent layer."""
        assert isinstance(self.config.state, Mamba2Shape)
        return CheckpointNames(
            renamed=((".mamba.norm.", ".linear_attn.group_norm."), (".mamba.", ".linear_attn.")),
            splits=(MergedRows("in_proj", self.config.state.rows),),
        )


class Bamba(MambaDecoder):
    @classmethod
    def read_config(cls, raw: RawConfig) -> HybridConfig:
        raw.require(hidden_act="silu")
        # Its own code rotates half of a head, whatever the file says.
        raw = raw.with_values(partial_rotary_factor=0.5)
        bias = raw.flag("attention_bias", False)
        base = raw.dense_decoder(
            qkv_bias=bias, output_bias=bias, mlp_bias=raw.flag("mlp_bias", False)
        )
        attention = raw.layer_numbers("attn_layer_indices") or ()
        recurrent = [layer not in attention for layer in range(base.num_layers)]
        return hybrid(base, recurrent, Mamba2Shape.read(raw))

    def checkpoint_names(self) -> CheckpointNames:
        own = self.mamba_names()
        renamed = (
            ("^model.final_layernorm.", "model.norm."),
            (".pre_ff_layernorm.", ".post_attention_layernorm."),
            (".feed_forward.", ".mlp."),
        )
        return CheckpointNames(renamed=(*renamed, *own.renamed), splits=own.splits)
