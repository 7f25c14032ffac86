"""Model families, and how a checkpoint becomes one of them on a device."""

from unisono.models.config import ModelConfig
from unisono.models.decoder import Decoder
from unisono.models.loading import LoadedModel, load_model
from unisono.models.raw_config import RawConfig
from unisono.models.registry import FAMILIES, find_family
from unisono.models.step import StepContext

__all__ = [
    "FAMILIES",
    "Decoder",
    "LoadedModel",
    "ModelConfig",
    "RawConfig",
    "StepContext",
    "find_family",
    "load_model",
]
