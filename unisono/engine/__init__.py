"""The engine: scheduler, KV cache, runner and sampler in one synchronous loop.

What needs torch is loaded when it is asked for: scheduler and KV cache run without it, in a
simulator too.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from unisono.engine.stats import EngineInfo, EngineStats, Timings

if TYPE_CHECKING:
    from unisono.engine.building import build_engine
    from unisono.engine.engine import Engine

__all__ = ["Engine", "EngineInfo", "EngineStats", "Timings", "build_engine"]

_NEEDS_TORCH = {"Engine": "unisono.engine.engine", "build_engine": "unisono.engine.building"}


def __getattr__(name: str) -> Any:
    if name in _NEEDS_TORCH:
        return getattr(import_module(_NEEDS_TORCH[name]), name)
    raise AttributeError(f"module 'unisono.engine' has no attribute {name!r}")
