"""The least that a step reads and multiplies: a token reads its own experts alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.checkpoints import oracle, save
from tests.engines import engine
from tests.families import CASES
from unisono.cli.benching.limits import count_prefill_flops, count_weight_bytes
from unisono.hardware.devices.cpu import CpuOps
from unisono.models.decoder import Decoder
from unisono.models.layers.moe import Experts
from unisono.models.raw_config import RawConfig
from unisono.models.registry import read_family
from unisono.models.step_memory import LargestStep, step_bytes

HIDDEN, LAYERS, VOCAB, WIDTH, EXPERTS = 64, 3, 512, 24, 8
EXPERT = 3 * HIDDEN * WIDTH
REST = LAYERS * (2 * 4 * 32 * HIDDEN + 2 * 2 * 32 * HIDDEN + EXPERTS * HIDDEN)
"""Parameters of attention and routers."""
NORMS = HIDDEN + LAYERS * (2 * HIDDEN + 2 * 32)


def test_of_a_mixture_beside_an_mlp(tmp_path: Path) -> None:
    case = CASES["gemma4-experts"]
    running = engine(save(oracle(case.model_type, **case.options), tmp_path))
    model, runner = running.runner.model, running.runner
    experts = [module for module in model.modules() if isinstance(module, Experts)]
    everything = 4 * sum(part.numel() for some in experts for part in some.parameters())
    unread = everything * (1 - 2 / 8)
    assert count_weight_bytes(runner, 1) == count_weight_bytes(runner, 1000) - unread


def test_memory_of_a_step_does_not_grow_with_experts_beside_an_mlp() -> None:
    step = LargestStep(num_tokens=4096, num_rows=4, num_scored=4, context=64)
    few, many = (step_bytes(skeleton(num_experts=count), step) for count in (8, 64))
    logits_of_routers = 4 * step.num_tokens * 2 * (64 - 8)
    assert many <= few + logits_of_routers


def skeleton(**options: Any) -> Decoder:
    """Without weights."""
    case = CASES["gemma4-experts"]
    model = oracle(case.model_type, **{**case.options, **options})
    family, config = read_family(RawConfig(model.config.to_dict()))
    return family(config, CpuOps(), torch.device("cpu"))


def test_of_a_mixture(tmp_path: Path) -> None:
    case = CASES["qwen3-moe"]
    running = engine(save(oracle(case.model_type, **case.options), tmp_path))
    info, runner = running.info, running.runner
    everything = REST + LAYERS * EXPERTS * EXPERT + VOCAB * HIDDEN
    assert info.weight_bytes == 4 * (everything + NORMS + VOCAB * HIDDEN)
    one = REST + LAYERS * 2 * EXPERT + VOCAB * HIDDEN
    assert info.step_weight_bytes == count_weight_bytes(runner, 1) == 4 * (one + NORMS)
    two = REST + LAYERS * EXPERTS * (1 - 0.75**2) * EXPERT + VOCAB * HIDDEN
    assert count_weight_bytes(runner, 2) == 4 * (two + NORMS)
    assert count_weight_bytes(runner, 1000) == pytest.approx(4 * (everything + NORMS))
    products = 2 * (10 * (REST + LAYERS * 2 * EXPERT) + VOCAB * HIDDEN)
    between = LAYERS * 4 * 55 * 4 * 32
    assert count_prefill_flops(runner, 10) == products + between
