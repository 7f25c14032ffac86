"""Hubs: from the name of a model to a folder with its files. Imports no torch."""

from unisono.hub.generation_config import read_sampling_defaults
from unisono.hub.resolving import looks_like_model, resolve_model

__all__ = ["looks_like_model", "read_sampling_defaults", "resolve_model"]
