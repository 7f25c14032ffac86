"""unisono: one engine, every accelerator, the same answers.

``import unisono`` imports no torch; it comes with the first ``LLM``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from unisono.core.errors import UnisonoError
from unisono.core.sampling import SamplingParams

if TYPE_CHECKING:
    from unisono.llm import LLM, Completion

__version__ = "0.1.0"
__all__ = ["LLM", "Completion", "SamplingParams", "UnisonoError", "__version__"]


def __getattr__(name: str) -> Any:
    if name in ("LLM", "Completion"):
        return getattr(import_module("unisono.llm"), name)
    raise AttributeError(f"module 'unisono' has no attribute {name!r}")
