"""The engine: scheduler, KV cache, runner and sampler in one synchronous loop.

What needs torch is loaded when it is asked for: engine, scheduler and KV cache run without it, in a
simulator too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unisono.engine.engine import Engine
from unisono.engine.runner import Runner
from unisono.engine.stats import EngineInfo, EngineStats, Timings

if TYPE_CHECKING:
    from unisono.engine.building import build_engine

__all__ = ["Engine", "EngineInfo", "EngineStats", "Runner", "Timings", "build_engine"]


def __getattr__(name: str) -> Any:
    if name == "build_engine":
        from unisono.engine import building

        return building.build_engine
    raise AttributeError(f"module 'unisono.engine' has no attribute {name!r}")
