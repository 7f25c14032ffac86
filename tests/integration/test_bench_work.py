"""The least that a step reads and multiplies: a token reads its own experts alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.checkpoints import oracle, save
from tests.engines import engine
from tests.families import CASES
from unisono.cli.benching.work import count_prefill_flops, count_weight_bytes

HIDDEN, LAYERS, VOCAB, WIDTH, EXPERTS = 64, 3, 512, 24, 8
EXPERT = 3 * HIDDEN * WIDTH
REST = LAYERS * (2 * 4 * 32 * HIDDEN + 2 * 2 * 32 * HIDDEN + EXPERTS * HIDDEN)
"""Parameters of attention and routers."""
NORMS = HIDDEN + LAYERS * (2 * HIDDEN + 2 * 32)


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
