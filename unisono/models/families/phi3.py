"""Phi-3 and Phi-4 (Abdin et al., 2024): Llama whose files merge projections; long contexts by
LongRoPE."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from unisono.models.checkpoint.splits import GATE_UP, MergedRows, Split
from unisono.models.config import ModelConfig
from unisono.models.decoder import Decoder
from unisono.models.raw_config import RawConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Phi3Config(ModelConfig):
    """Heads of the whole model: of query, and of key and value."""

    merged_heads: tuple[int, int]


class Phi3(Decoder):
    config: Phi3Config

    @classmethod
    def read_config(cls, raw: RawConfig) -> Phi3Config:
        raw = raw.with_defaults(max_position_embeddings=4096, rms_norm_eps=1e-5)
        config = raw.dense_decoder(windows=raw.windows())
        if config.rope.kind in ("su", "yarn"):  # as the first files call it
            config = replace(config, rope=replace(config.rope, kind="longrope"))
        heads = config.num_heads, config.num_kv_heads
        return Phi3Config.extending(config, merged_heads=heads)

    def stored_splits(self) -> Sequence[Split]:
        query, key = self.config.merged_heads
        return MergedRows("qkv_proj", {"q_proj": query, "k_proj": key, "v_proj": key}), GATE_UP
