"""Kimi K2.5 (Moonshot AI, 2026): the text of a DeepSeek-V3 behind a vision tower.

Kimi K2 names DeepSeek-V3's architecture itself.
"""

from __future__ import annotations

from dataclasses import replace

from unisono.models.checkpoint.names import TEXT_OF_MULTIMODAL, CheckpointNames
from unisono.models.config import ModelConfig
from unisono.models.families.deepseek import DeepseekV3
from unisono.models.raw_config import RawConfig

__all__ = ["KimiK25"]

_TEXT = replace(
    TEXT_OF_MULTIMODAL,
    # As transformers writes it, which renames more than the vision tower's.
    renamed=(("^language_model.model.blocks.", "model.layers."), *TEXT_OF_MULTIMODAL.renamed),
    ignored=(*TEXT_OF_MULTIMODAL.ignored, "mm_projector.", "model.mm_projector."),
)


class KimiK25(DeepseekV3):
    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        return DeepseekV3.read_config(raw.text())

    def checkpoint_names(self) -> CheckpointNames:
        return super().checkpoint_names().behind(_TEXT)
