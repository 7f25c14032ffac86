"""DeepSeek-V3.2 (DeepSeek-AI, 2025) and GLM-5 (Z.ai, 2026): latent attention to chosen tokens."""

from __future__ import annotations

from unisono.core.errors import LayerListError
from unisono.models.config import ModelConfig
from unisono.models.families.deepseek import V3_DEFAULTS, Deepseek, read_corrected
from unisono.models.latent import read_index
from unisono.models.layers.sparse_attention import SparseLatentAttention
from unisono.models.raw_config import RawConfig

__all__ = ["DeepseekV32", "GlmMoeDsa"]

_GLM_5 = {
    **V3_DEFAULTS,
    "max_position_embeddings": 202_752,
    "rms_norm_eps": 1e-5,
    "n_group": 1,
    "topk_group": 1,
}
_WORDS = {"F": "full", "S": "shared"}
"""Meaning of the letters of a pattern."""


class DeepseekV32(Deepseek):
    """Every layer chooses."""

    attention_class = SparseLatentAttention

    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.with_defaults(**{**V3_DEFAULTS, "max_position_embeddings": 163_840})
        layers = range(raw.num_layers)
        return read_corrected(raw, read_index(raw, layers, interleaved=False))


class GlmMoeDsa(Deepseek):
    """Some layers choose, the others see what those chose."""

    attention_class = SparseLatentAttention

    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw = raw.with_defaults(**_GLM_5)
        return read_corrected(raw, read_index(raw, choosing_layers(raw), interleaved=True))


def choosing_layers(raw: RawConfig) -> frozenset[int]:
    """By name (``indexer_types``), by letter (``index_topk_pattern``), or each n-th.

    Raises:
        LayerListError: not one word for each layer, or the first layer does not choose.
    """
    pattern = raw.get("index_topk_pattern")
    said = raw.get("indexer_types") or (list(pattern) if isinstance(pattern, str) else pattern)
    if isinstance(said, list):
        said = [_WORDS.get(str(word), word) for word in said]
    kinds = raw.with_values(indexer_types=said).per_layer("indexer_types", "full", "shared")
    if not kinds:
        every = raw.integer("index_topk_freq", 1)
        offset = raw.integer("index_skip_topk_offset", 2, least=0)
        layers = range(raw.num_layers)
        return frozenset(i for i in layers if max(i - offset + 1, 0) % every == 0)
    if kinds[0] != "full":
        raise LayerListError(f"{raw.source}: indexer_types must say full for the first layer.")
    return frozenset(i for i, kind in enumerate(kinds) if kind == "full")
