"""The engine: scheduler, KV cache, runner and sampler in one synchronous loop."""

from unisono.engine.building import build_engine
from unisono.engine.engine import Engine
from unisono.engine.stats import EngineInfo, EngineStats, Timings

__all__ = ["Engine", "EngineInfo", "EngineStats", "Timings", "build_engine"]
