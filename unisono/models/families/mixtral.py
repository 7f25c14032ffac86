"""Mixtral (Jiang et al., 2024) and MiniMax-M2 (2025): every layer has experts."""

from __future__ import annotations

from unisono.hardware.ops.experts import Routing
from unisono.models.checkpoint.names import CheckpointNames
from unisono.models.checkpoint.splits import fused_experts
from unisono.models.config import ModelConfig
from unisono.models.decoder import Decoder
from unisono.models.expert_config import read_num_experts
from unisono.models.expert_shape import ExpertShape
from unisono.models.raw_config import RawConfig

__all__ = ["MIXTRAL_NAMES", "MiniMaxM2", "Mixtral"]

MIXTRAL_NAMES = (
    (".block_sparse_moe.e_score_correction_bias", ".mlp.gate.e_score_correction_bias"),
    (".block_sparse_moe.", ".mlp."),
    (".w1.", ".gate_proj."),
    (".w3.", ".up_proj."),
    (".w2.", ".down_proj."),
)


class Mixtral(Decoder):
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
        return raw.dense_decoder(windows=raw.windows(), experts=_everywhere(raw, routing))

    def checkpoint_names(self) -> CheckpointNames:
        assert self.config.experts is not None
        splits = fused_experts(self.config.experts.num_experts)
        return CheckpointNames(renamed=MIXTRAL_NAMES, splits=splits)


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
        experts = _everywhere(raw, routing, corrected=True)
        return raw.dense_decoder(qk_norm="projection", experts=experts)


def _everywhere(raw: RawConfig, routing: Routing, *, corrected: bool = False) -> ExpertShape:
    return ExpertShape(
        num_experts=read_num_experts(raw, "num_local_experts", "num_experts"),
        size=raw.integer("intermediate_size"),
        routing=routing,
        layers=frozenset(range(raw.num_layers)),
        corrected=corrected,
    )
