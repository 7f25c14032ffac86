"""The memory that an engine needs beside the weights, known before any is loaded.

How the KV budget divides into blocks and how long a request they hold, and the most that a step of
that many tokens takes at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from unisono.core.cache import KV_DTYPES, LayerCache
from unisono.core.config import EngineConfig
from unisono.core.errors import ConfigError
from unisono.engine.block_budget import BlockBudget
from unisono.engine.model_runner import SCORED_ROWS
from unisono.engine.pages import PageLayout, natural_block_size
from unisono.hardware.base import Hardware
from unisono.models.adapters.model_adapters import adapter_bytes
from unisono.models.decoder import Decoder
from unisono.models.loading import Reserve
from unisono.models.step_memory import LargestStep, step_bytes

DEFAULT_KV_MEMORY = 2 * 2**30
"""Bytes, where as much fits."""


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """The memory of one rank."""

    pages: PageLayout
    num_blocks: int
    max_model_len: int
    step_bytes: int
    adapter_bytes: int

    @classmethod
    def of(
        cls,
        model: Decoder,
        dtype: torch.dtype,
        config: EngineConfig,
        hardware: Hardware,
        kv_memory: int,
    ) -> MemoryPlan:
        """With ``kv_memory`` bytes, whatever ``config`` says. The model may be on the meta device.

        Raises:
            ConfigError: options that contradict the model or the hardware.
            InsufficientMemoryError: the KV memory is too small.
        """
        caches = layer_caches(model, dtype, config.kv_dtype)
        natural = natural_block_size(caches, hardware.facts.kv_block_size)
        pages = PageLayout.of(caches, config.block_size or natural)
        _check_chunks(caches, pages.block_size)
        blocks = BlockBudget(
            pages, kv_memory // pages.bytes_per_block, config.max_num_batched_tokens
        )
        blocks.check(kv_memory)
        length = blocks.max_model_len(config.max_model_len, model.config.max_position)
        largest = LargestStep(
            num_tokens=blocks.chunk,
            num_rows=config.max_num_seqs + config.most_drafts,
            num_scored=SCORED_ROWS,
            context=length,
        )
        adapters = adapter_memory(model, dtype, config)
        return cls(pages, blocks.count, length, step_bytes(model, largest), adapters)

    @property
    def kv_bytes(self) -> int:
        return self.num_blocks * self.pages.bytes_per_block

    @property
    def reserve(self) -> Reserve:
        return Reserve(
            kv_bytes=self.kv_bytes, step_bytes=self.step_bytes, adapter_bytes=self.adapter_bytes
        )


def kv_memory_that_fits(free: int, weight_bytes: int) -> int:
    """The default budget: half of what the weights leave is for the steps."""
    return min(DEFAULT_KV_MEMORY, max(0, free - weight_bytes) // 2)


def adapter_memory(model: Decoder, dtype: torch.dtype, config: EngineConfig) -> int:
    """Bytes for all adapters that ``config`` lets be loaded, each of the highest rank."""
    if not config.max_adapters:
        return 0
    return config.max_adapters * adapter_bytes(model, dtype, config.max_adapter_rank)


def layer_caches(model: Decoder, dtype: torch.dtype, kv_dtype: str) -> list[LayerCache]:
    """The cache of each layer, keys and values in ``kv_dtype``.

    Raises:
        ConfigError: no layer keeps anything that it applies to.
    """
    layers, quantized_dtype = model.layer_caches(dtype), KV_DTYPES[kv_dtype]
    if quantized_dtype is None:
        return layers
    quantized = [layer.quantized(quantized_dtype) for layer in layers]
    if not any(layer.scaled for layer in quantized):
        raise ConfigError(
            f"kv_dtype {kv_dtype} is for keys and values of attention heads; "
            f"{type(model).__name__} keeps none.",
            hint="Leave --kv-dtype at auto.",
        )
    return quantized


def _check_chunks(layers: list[LayerCache], block_size: int) -> None:
    """Raises ConfigError: a chunk of a sequence does not begin with a block."""
    for chunk in {layer.chunk for layer in layers if layer.chunk is not None}:
        if chunk % block_size:
            raise ConfigError(
                f"Attention within chunks of {chunk} tokens needs KV blocks that divide a chunk, "
                f"not of {block_size} tokens.",
                hint="Leave block_size out: without it they do.",
            )
