"""Rotations that depend on the length of the text, through the engine: growing answers, chunks,
batches, shared prefixes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests import checkpoints
from tests.engines import answers, engine, request, run
from tests.families.dense import LONG_ROPE
from unisono.core import SamplingParams

TRAINED = 40
LENGTHS = (5, 30, 38, 40, 41, 60)
FEW = SamplingParams(temperature=0.0, max_tokens=4, ignore_eos=True)


def check_grown(model: Any, prompts: list[list[int]], answers: list[list[int]]) -> None:
    """The oracle keeps the longest text it saw, until it sees one below its trained length."""
    for prompt, answer in zip(prompts, answers, strict=True):
        with torch.no_grad():
            model(torch.tensor([[3]]))
        assert checkpoints.continues(model, prompt, answer)


@pytest.fixture(scope="module", params=["dynamic", "longrope"])
def model_and_folder(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Any, Path]:
    if request.param == "dynamic":
        rope = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 3.0}
        model = checkpoints.oracle("llama", rope_parameters=rope, max_position_embeddings=TRAINED)
    else:
        model = checkpoints.oracle(
            "phi3", rope_parameters=LONG_ROPE, original_max_position_embeddings=TRAINED
        )
    return model, checkpoints.save(model, tmp_path_factory.mktemp(request.param))


def test_answers_that_grow_beyond_the_trained_length(
    model_and_folder: tuple[Any, Path],
) -> None:
    model, folder = model_and_folder
    prompts = checkpoints.prompts(*LENGTHS)
    check_grown(model, prompts, answers(engine(folder), prompts))
    chunked = engine(folder, max_num_batched_tokens=7, max_num_seqs=3)
    check_grown(model, prompts, answers(chunked, prompts))


def test_prefixes_are_shared_by_texts_of_one_rotation(
    model_and_folder: tuple[Any, Path],
) -> None:
    model, folder = model_and_folder
    (text,) = checkpoints.prompts(70)
    shared = engine(folder)
    for name, length, fewest, most in (
        ("short", 32, 0, 0),
        ("shorter", 30, 28, 28),
        ("long", 60, 0, 0),
        ("again", 60, 56, 56),
    ):
        done = run(shared, [request(name, text[:length], FEW)])[name]
        assert len(done.token_ids) == FEW.max_tokens
        check_grown(model, [text[:length]], [done.token_ids])
        assert fewest <= done.num_cached_tokens <= most


def test_preempted_beyond_the_trained_length(model_and_folder: tuple[Any, Path]) -> None:
    model, folder = model_and_folder
    prompts = checkpoints.prompts(30, 31, 38, 44, seed=3)
    probe = engine(folder)
    bytes_per_block = probe.info.kv_bytes // probe.info.num_blocks
    tight = engine(folder, kv_memory=bytes_per_block * 24, max_model_len=72, prefix_cache=False)
    check_grown(model, prompts, answers(tight, prompts))
    assert tight.stats().num_preemptions > 0
