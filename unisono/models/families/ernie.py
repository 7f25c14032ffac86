"""ERNIE 4.5 (Baidu, 2025), dense and with experts: Llama that rotates neighbouring dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from unisono.core.errors import CheckpointError
from unisono.hardware.ops.experts import Routing
from unisono.models.checkpoint.splits import Split, View
from unisono.models.config import ModelConfig
from unisono.models.decoder import Decoder
from unisono.models.expert_config import read_experts
from unisono.models.raw_config import RawConfig


class Ernie4_5(Decoder):
    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.with_defaults(
            num_key_value_heads=2,
            head_dim=128,
            max_position_embeddings=131_072,
            rms_norm_eps=1e-5,
            rope_theta=500_000.0,
            tie_word_embeddings=True,
        )
        raw.require(compression_ratio=1.0)
        return raw.dense_decoder(**raw.biases("use_bias", "use_bias"), interleaved=True)


_CORRECTION = ".e_score_correction_bias"


class Ernie4_5Moe(Ernie4_5):
    renamed = (
        (".mlp.moe_statics.", ".mlp.gate."),
        (".mlp.gate.moe_statics.", ".mlp.gate."),
        (".shared_experts.", ".shared_expert."),
    )
    ignored = ("model.mtp_",)

    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw.require(use_bias=False)
        raw = raw.with_defaults(
            num_key_value_heads=4,
            head_dim=raw.integer("hidden_size") // raw.integer("num_attention_heads"),
            moe_intermediate_size=1536,
            moe_k=6,
            moe_num_experts=64,
            moe_num_shared_experts=2,
        )
        experts = read_experts(
            raw,
            Routing(num_chosen=raw.integer("moe_k"), normalized=True),
            count=("moe_num_experts",),
            layers=_layers(raw),
            shared="moe_num_shared_experts",
            corrected=True,
            router_float32=True,
        )
        return replace(super().read_config(raw), experts=experts)

    def stored_splits(self) -> Sequence[Split]:
        return _flat_correction, *super().stored_splits()


def _flat_correction(name: str) -> dict[str, View]:
    """Stored as [1, E]."""
    return {name: Tensor.flatten} if name.endswith(_CORRECTION) else {}


def _layers(raw: RawConfig) -> frozenset[int]:
    first, step = (
        raw.integer("moe_layer_start_index", 1, least=0),
        raw.integer("moe_layer_interval", 1),
    )
    num_layers, last = raw.num_layers, raw.get("moe_layer_end_index", -1)
    if type(last) is not int or not last >= -1:
        raise CheckpointError(
            f"{raw.source}: moe_layer_end_index must be a layer, is {last!r:.80}."
        )
    behind = num_layers if last == -1 else min(last + 1, num_layers)
    return frozenset(i for i in range(first, behind) if (i + 1) % step == 0)
