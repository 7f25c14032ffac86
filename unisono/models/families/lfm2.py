"""LFM2 (Liquid AI, 2025), dense and with experts: short convolutions in most layers."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from unisono.hardware.ops.portable import PortableOps
from unisono.models.checkpoint.splits import MergedRows, Split
from unisono.models.config import ModelConfig
from unisono.models.expert_config import later_layers, read_experts, read_routing
from unisono.models.hybrid import HybridConfig, HybridDecoder, read_recurrent
from unisono.models.layers.short_conv import ConvShape, GatedConv
from unisono.models.raw_config import RawConfig


class Lfm2(HybridDecoder):
    renamed = (
        ("^model.embedding_norm.", "model.norm."),
        (".operator_norm.", ".input_layernorm."),
        (".ffn_norm.", ".post_attention_layernorm."),
        (".conv.conv.", ".linear_attn.conv1d."),
        (".conv.in_proj.", ".linear_attn.in_proj."),
        (".conv.out_proj.", ".linear_attn.out_proj."),
        (".self_attn.out_proj.", ".self_attn.o_proj."),
        (".q_layernorm.", ".q_norm."),
        (".k_layernorm.", ".k_norm."),
        (".feed_forward.expert_bias", ".feed_forward.gate.e_score_correction_bias"),
        (".feed_forward.", ".mlp."),
        (".w1.", ".gate_proj."),
        (".w3.", ".up_proj."),
        (".w2.", ".down_proj."),
    )

    @classmethod
    def read_config(cls, raw: RawConfig) -> HybridConfig:
        raw = _with_older_names(raw)
        base = raw.dense_decoder(qk_norm="head", intermediate_size=_mlp_width(raw))
        return _with_convolutions(raw, base)

    def make_recurrent(self, ops: PortableOps, config: HybridConfig, layer: int) -> nn.Module:
        assert isinstance(config.state, ConvShape)
        return GatedConv(ops, config.state, config.hidden_size, layer)

    def stored_splits(self) -> Sequence[Split]:
        merged = MergedRows("in_proj", {"in_proj_b": 1, "in_proj_c": 1, "in_proj_x": 1})
        return *super().stored_splits(), merged


class Lfm2Moe(Lfm2):
    @classmethod
    def read_config(cls, raw: RawConfig) -> HybridConfig:
        raw = _with_older_names(raw).with_defaults(
            num_experts=32, num_experts_per_tok=4, moe_intermediate_size=1792
        )
        scale = raw.number("routed_scaling_factor", 1.0)
        routing = read_routing(raw, normalized=True, score="sigmoid", scale=scale)
        experts = read_experts(
            raw,
            routing,
            layers=later_layers(raw, "num_dense_layers", 2),
            corrected=raw.flag("use_expert_bias", True),
        )
        base = raw.dense_decoder(qk_norm="head", experts=experts)
        return _with_convolutions(raw, base)


def _with_older_names(raw: RawConfig) -> RawConfig:
    """The same with the names that files have had since the family is known to transformers."""
    raw.require(hidden_act="silu")
    values = {
        **raw.values,
        "tie_word_embeddings": raw.get("tie_embedding", raw.get("tie_word_embeddings", True)),
        "intermediate_size": raw.get("block_ff_dim", raw.get("intermediate_size")),
        "rms_norm_eps": raw.get("norm_eps", 1e-5),
    }
    defaults = {"rope_theta": 1e6, "max_position_embeddings": 128_000}
    return RawConfig(values, raw.source).with_defaults(**defaults)


def _mlp_width(raw: RawConfig) -> int:
    """Two thirds of what the file says, times a factor, rounded up, where it asks for that."""
    width = raw.integer("intermediate_size")
    if not raw.flag("block_auto_adjust_ff_dim", True):
        return width
    multiple = raw.integer("block_multiple_of", 256)
    width = int(raw.number("block_ffn_dim_multiplier", 1.0) * int(2 * width / 3))
    return -(-width // multiple) * multiple


def _with_convolutions(raw: RawConfig, base: ModelConfig) -> HybridConfig:
    num_layers = base.num_layers
    attention = raw.layer_numbers("full_attn_idxs") or range(num_layers)
    shape = ConvShape(
        channels=base.hidden_size,
        width=raw.integer("conv_L_cache", 3, least=2),
        bias=raw.flag("conv_bias", False),
    )
    older = [layer not in attention for layer in range(num_layers)]
    recurrent = read_recurrent(raw, ("conv",), older)
    return HybridConfig.extending(base, recurrent=recurrent, state=shape)
