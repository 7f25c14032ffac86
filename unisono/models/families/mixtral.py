"""Mixtral (Jiang et al., 2024) and MiniMax-M2 (2025): every layer has experts."""

from __future__ import annotations

from unisono.hardware.ops.experts import Routing
from unisono.models.config import ModelConfig
from unisono.models.decoder import Decoder
from unisono.models.expert_config import read_experts
from unisono.models.raw_config import RawConfig


class Mixtral(Decoder):
    renamed = (
        (".block_sparse_moe.e_score_correction_bias", ".mlp.gate.e_score_correction_bias"),
        (".block_sparse_moe.", ".mlp."),
        (".w1.", ".gate_proj."),
        (".w3.", ".up_proj."),
        (".w2.", ".down_proj."),
    )

    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.with_defaults(
            rms_norm_eps=1e-5,
            rope_theta=1e6,
            max_position_embeddings=131_072,
            num_experts_per_tok=2,
            num_local_experts=8,
        )
        routing = Routing(num_chosen=raw.integer("num_experts_per_tok"), normalized=True)
        experts = read_experts(
            raw, routing, count=("num_local_experts",), width="intermediate_size"
        )
        return raw.dense_decoder(windows=raw.windows(), experts=experts)


class MiniMaxM2(Mixtral):
    """Sigmoid scores with a correction; norms over all query and all key heads at once."""

    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw.require(scoring_func="sigmoid", use_qk_norm=True, qk_norm_type="per_layer")
        raw = raw.with_defaults(
            rms_norm_eps=1e-6,
            rope_theta=5e6,
            max_position_embeddings=196_608,
            head_dim=128,
            num_experts_per_tok=8,
            num_local_experts=256,
        )
        if raw.get("rotary_dim") is not None:
            share = raw.integer("rotary_dim") / raw.integer("head_dim")
            raw = raw.with_defaults(partial_rotary_factor=share)
        routing = Routing(
            num_chosen=raw.integer("num_experts_per_tok"), score="sigmoid", normalized=True
        )
        experts = read_experts(
            raw,
            routing,
            count=("num_local_experts",),
            width="intermediate_size",
            corrected=True,
        )
        return raw.dense_decoder(qk_norm="projection", experts=experts)
