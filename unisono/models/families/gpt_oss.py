"""gpt-oss (OpenAI, 2025): experts with biases and a clamped activation, sinks, and a window in
every other layer."""

from __future__ import annotations

from collections.abc import Sequence

from unisono.hardware.ops.experts import Routing
from unisono.models.checkpoint.splits import FusedExperts, Split
from unisono.models.config import ModelConfig
from unisono.models.decoder import Decoder
from unisono.models.expert_config import read_experts
from unisono.models.raw_config import RawConfig

_ROPE = {
    "rope_type": "yarn",
    "factor": 32.0,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "truncate": False,
    "original_max_position_embeddings": 4096,
}


class GptOss(Decoder):
    renamed = ((".mlp.router.", ".mlp.gate."),)

    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw.require(swiglu_alpha=1.702, swiglu_limit=7.0, hidden_act="silu")
        raw = raw.with_defaults(
            head_dim=64,
            rms_norm_eps=1e-5,
            rope_theta=150_000.0,
            max_position_embeddings=131_072,
            sliding_window=128,
            layer_types=[
                "full_attention" if i % 2 else "sliding_attention" for i in range(raw.num_layers)
            ],
        )
        if not raw.mapping("rope_parameters"):
            raw = raw.with_defaults(rope_scaling=_ROPE)
        experts = read_experts(
            raw,
            Routing(num_chosen=raw.integer("num_experts_per_tok", 4), normalized=True),
            count=("num_local_experts", "num_experts"),
            default=128,
            width="intermediate_size",
            bias=True,
            router_bias=True,
        )
        return raw.dense_decoder(
            **raw.attention_biases(default=True),
            attention_sinks=True,
            windows=raw.windows(),
            activation="clamped_swiglu",
            experts=experts,
        )

    def stored_splits(self) -> Sequence[Split]:
        assert self.config.experts is not None
        return (FusedExperts(self.config.experts.num_experts, transposed=True, interleaved=True),)
