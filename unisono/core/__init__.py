"""The vocabulary every room shares. Imports nothing of ours and no torch."""

from unisono.core.batch import Batch, BatchRow, RowResult
from unisono.core.cache import (
    KV_DTYPES,
    CacheGroup,
    CacheKind,
    CacheTensor,
    LayerCache,
    group_layers,
)
from unisono.core.clock import Clock, ManualClock, MonotonicClock
from unisono.core.config import DTYPES, EngineConfig, format_bytes, parse_bytes, parse_kv_memory
from unisono.core.random import derive_seed, uniform
from unisono.core.request import FinishReason, Request, RequestOutput, TokenLogprob
from unisono.core.sampling import SamplingParams
from unisono.core.sampling_defaults import NEUTRAL, SamplingDefaults
from unisono.core.sampling_limits import MAX_ALLOWED_TOKENS, MAX_LOGPROBS
from unisono.core.weight_format import WeightFormat

__all__ = [
    "Batch",
    "BatchRow",
    "CacheGroup",
    "CacheKind",
    "CacheTensor",
    "Clock",
    "DTYPES",
    "EngineConfig",
    "FinishReason",
    "KV_DTYPES",
    "LayerCache",
    "MAX_ALLOWED_TOKENS",
    "MAX_LOGPROBS",
    "ManualClock",
    "MonotonicClock",
    "NEUTRAL",
    "Request",
    "RequestOutput",
    "RowResult",
    "SamplingDefaults",
    "SamplingParams",
    "TokenLogprob",
    "WeightFormat",
    "derive_seed",
    "format_bytes",
    "group_layers",
    "parse_bytes",
    "parse_kv_memory",
    "uniform",
]
