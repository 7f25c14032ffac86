"""Gemma 1 and 2 (Gemma Team, 2024) and the text of Gemma 3 (Gemma Team, 2025): scaled embeddings,
weights of norms around 1; from the second on norms around each branch and windows in most layers.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from unisono.hardware.ops.portable import PortableOps
from unisono.models.checkpoint.names import TEXT_OF_MULTIMODAL
from unisono.models.config import ModelConfig
from unisono.models.decoder import Decoder
from unisono.models.layers.linear import Embedding, ScaledEmbedding
from unisono.models.layers.residual import DecoderLayer, SandwichLayer
from unisono.models.raw_config import RawConfig

_GEMMA = {
    "head_dim": 256,
    "tie_word_embeddings": True,
    "hidden_activation": "gelu_pytorch_tanh",
    "max_position_embeddings": 8192,
}
_GEMMA2 = {
    **_GEMMA,
    "query_pre_attn_scalar": 256,
    "sliding_window": 4096,
    "sliding_window_pattern": 2,
    "attn_logit_softcapping": 50.0,
    "final_logit_softcapping": 30.0,
}
_GEMMA3 = {
    **_GEMMA,
    "query_pre_attn_scalar": 256,
    "sliding_window": 4096,
    "sliding_window_pattern": 6,
    "max_position_embeddings": 131_072,
    "rope_theta": 1_000_000.0,
}
_LOCAL_THETA = 10_000.0


class Gemma(Decoder):
    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.with_defaults(**_GEMMA)
        if raw.get("hidden_act") == "gelu":  # the first files say so, and mean the approximation
            return _read(raw)
        return _read(raw, activation=raw.activation("hidden_act", "gelu_pytorch_tanh"))

    def make_embedding(self, ops: PortableOps, config: ModelConfig) -> Embedding:
        return GemmaEmbedding(ops, config.vocab_size, config.hidden_size, config.embedding_scale)


class GemmaEmbedding(ScaledEmbedding):
    """The scale is rounded to the dtype."""

    def forward(self, token_ids: Tensor) -> Tensor:
        rows = self.ops.embedding(token_ids, self.weight)
        return rows * torch.tensor(self.scale, dtype=rows.dtype)


class Gemma2(Gemma):
    layer_class: ClassVar[type[nn.Module]] = SandwichLayer

    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.with_defaults(**_GEMMA2)
        return _read(raw, **_windowed(raw))


class VaultGemma(Gemma2):
    """Gemma 2 without the norms behind its branches (Google, 2025)."""

    renamed = ((".pre_feedforward_layernorm.", ".post_attention_layernorm."),)
    layer_class = DecoderLayer


class Gemma3(Gemma2):
    """Windowed layers rotate by a theta of their own."""

    renamed = TEXT_OF_MULTIMODAL.renamed
    ignored = TEXT_OF_MULTIMODAL.ignored

    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.text().with_defaults(**_GEMMA3)
        fields = _windowed(raw)
        head_dim = raw.integer("head_dim")
        whole = raw.rope(head_dim, "full_attention")
        local = raw.local_rope(head_dim, raw.number("rope_local_base_freq", _LOCAL_THETA))
        ropes = tuple(whole if window is None else local for window in fields["windows"])
        return _read(raw, **fields, qk_norm="head", rope=whole, layer_ropes=ropes)


def _read(raw: RawConfig, **family: Any) -> ModelConfig:
    raw.require(use_bidirectional_attention=False)
    fields = {
        **raw.attention_biases(),
        "norm": "zero_centred_rms",
        "embedding_scale": raw.integer("hidden_size") ** 0.5,
        "activation": raw.activation("hidden_activation", "gelu_pytorch_tanh"),
    }
    return raw.dense_decoder(**{**fields, **family})


def _windowed(raw: RawConfig) -> dict[str, Any]:
    return {
        "windows": raw.windows(whole_every=raw.integer("sliding_window_pattern")),
        "attention_scale": raw.number("query_pre_attn_scalar") ** -0.5,
        "attention_softcap": raw.optional_number("attn_logit_softcapping"),
        "logit_softcap": raw.optional_number("final_logit_softcapping"),
    }
