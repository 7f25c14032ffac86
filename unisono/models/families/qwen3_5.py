"""Qwen3.5 and its successors of the same kind (Qwen team, 2026), dense and with experts: Qwen3-Next
with projections that come apart. Of a checkpoint with a vision tower, the language model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from unisono.models.checkpoint.names import TEXT_OF_MULTIMODAL
from unisono.models.checkpoint.splits import MergedRows, Split
from unisono.models.families.qwen3_next import Qwen3Next, read_hybrid, read_optional_experts
from unisono.models.hybrid import HybridConfig
from unisono.models.layers.gated_delta_net import DeltaNetShape, GatedDeltaNet
from unisono.models.raw_config import RawConfig

__all__ = ["Qwen35", "Qwen35Moe"]


class SplitDeltaNet(GatedDeltaNet):
    """All heads' queries, then all keys, values, gates."""

    @staticmethod
    def qkvz_rows(shape: DeltaNetShape) -> Mapping[str, int]:
        return {**_qkv_rows(shape), "in_proj_z": shape.values}

    @staticmethod
    def ba_rows(shape: DeltaNetShape) -> Mapping[str, int]:
        return {"in_proj_b": shape.num_value_heads, "in_proj_a": shape.num_value_heads}

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        sizes = [sum(self.shape.qkv_rows), self.shape.values]
        qkv, gate = torch.split(self.in_proj_qkvz(x), sizes, dim=1)
        b, a = self.in_proj_ba(x).chunk(2, dim=1)
        return qkv, gate, b, a


def _qkv_rows(shape: DeltaNetShape) -> dict[str, int]:
    """Parts that checkpoints stack in ``in_proj_qkv``, each with its rows."""
    return dict(zip(("in_proj_q", "in_proj_k", "in_proj_v"), shape.qkv_rows, strict=True))


class Qwen35(Qwen3Next):
    renamed = TEXT_OF_MULTIMODAL.renamed
    ignored = (*Qwen3Next.ignored, *TEXT_OF_MULTIMODAL.ignored)
    delta_net_class = SplitDeltaNet

    @classmethod
    def read_config(cls, raw: RawConfig) -> HybridConfig:
        return read_hybrid(raw.text(), None)

    def stored_splits(self) -> Sequence[Split]:
        assert isinstance(self.config.state, DeltaNetShape)
        merged = MergedRows("in_proj_qkv", _qkv_rows(self.config.state))
        return *super().stored_splits(), merged


class Qwen35Moe(Qwen35):
    @classmethod
    def read_config(cls, raw: RawConfig) -> HybridConfig:
        raw = raw.text().with_defaults(num_experts_per_tok=8)
        raw.require(norm_topk_prob=True)
        experts = read_optional_experts(raw, None, 256)
        # No layer has an MLP of its own, and the file says no width for one.
        width = raw.integer("moe_intermediate_size", 512)
        return read_hybrid(raw.with_defaults(intermediate_size=width), experts)
