"""Kimi K2.5 (Moonshot AI, 2026): the text of a DeepSeek-V3 behind a vision tower.

Kimi K2 names DeepSeek-V3's architecture itself.
"""

from __future__ import annotations

from unisono.models.checkpoint.names import TEXT_OF_MULTIMODAL
from unisono.models.config import ModelConfig
from unisono.models.families.deepseek import DeepseekV3
from unisono.models.raw_config import RawConfig

__all__ = ["KimiK25"]


class KimiK25(DeepseekV3):
    renamed = (
        # As transformers writes it, which renames more than the vision tower's.
        ("^language_model.model.blocks.", "model.layers."),
        *TEXT_OF_MULTIMODAL.renamed,
        *DeepseekV3.renamed,
    )
    ignored = (*TEXT_OF_MULTIMODAL.ignored, "mm_projector.", "model.mm_projector.")

    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        return DeepseekV3.read_config(raw.text())
