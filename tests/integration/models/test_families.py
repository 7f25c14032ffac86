"""Every family, with every option that changes its arithmetic, against transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests import checkpoints
from tests.checkpoints import check_greedy
from tests.engines import GREEDY, answers, engine, request, run
from tests.families import CASES, Case
from tests.near_ties import check_scores
from tests.passes import logits, logits_of_parts, one_pass
from tests.records import check_records
from tests.training import check_training
from unisono.core import SamplingParams
from unisono.engine.kv_cache import peak_blocks
from unisono.hardware import find_hardware
from unisono.models import load_model

LENGTHS = (1, 3, 4, 5, 16, 31, 50)


def made(name: str, case: Case, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    model = checkpoints.oracle(case.model_type, **case.options)
    return model, checkpoints.save(model, tmp_path_factory.mktemp(name))


@pytest.fixture(scope="module", params=CASES)
def any_case(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Any, Path]:
    return made(request.param, CASES[request.param], tmp_path_factory)


@pytest.fixture(scope="module", params=[name for name, case in CASES.items() if case.whole])
def case(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Any, Path]:
    return made(request.param, CASES[request.param], tmp_path_factory)


def close(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    return bool((ours - theirs).abs().max() <= 1e-4 * theirs.abs().max())


def test_logits(any_case: tuple[Any, Path]) -> None:
    model, folder = any_case
    (prompt,) = checkpoints.prompts(60)
    hardware = find_hardware("cpu")
    ours = logits(load_model(folder, hardware, dtype="float32"), hardware, prompt)
    with torch.no_grad():
        theirs = model(torch.tensor([prompt])).logits[0]
    assert close(ours, theirs)


def test_trained_without_a_cache(any_case: tuple[Any, Path], tmp_path: Path) -> None:
    model, folder = any_case
    sequences = checkpoints.prompts(1, 23, 60, 5)
    hardware = find_hardware("cpu")
    cached = load_model(folder, hardware, dtype="float32")
    together = check_training(model, folder, sequences, tmp_path)
    for sequence, ours in zip(sequences, together, strict=True):
        assert close(ours, logits(cached, hardware, sequence))


def test_records_say_what_modules_compute(any_case: tuple[Any, Path]) -> None:
    _, folder = any_case
    (prompt,) = checkpoints.prompts(21)
    hardware = find_hardware("cpu")
    loaded = load_model(folder, hardware, dtype="float32")
    torch.manual_seed(0)
    with torch.inference_mode():
        check_records(loaded.model, hardware.ops, *one_pass(loaded, hardware, prompt))


def test_greedy_continuation_alone_and_batched(any_case: tuple[Any, Path]) -> None:
    model, folder = any_case
    prompts = checkpoints.prompts(*LENGTHS)
    batched = answers(engine(folder, max_num_batched_tokens=256), prompts)
    check_greedy(model, prompts, batched)
    alone = engine(folder, max_num_seqs=1)
    check_greedy(model, prompts[:4], [answers(alone, [prompt])[0] for prompt in prompts[:4]])


def test_tensor_parallel(case: tuple[Any, Path], tmp_path: Path) -> None:
    model, folder = case
    (prompt,) = checkpoints.prompts(40)
    with torch.no_grad():
        theirs = model(torch.tensor([prompt])).logits[0]
    for ours in logits_of_parts(folder, find_hardware("cpu"), tmp_path / "meet", 2, prompt):
        assert close(ours, theirs)


def test_chunked_is_whole(case: tuple[Any, Path]) -> None:
    model, folder = case
    prompts = checkpoints.prompts(40, 23, seed=1)
    chunked = engine(folder, max_num_batched_tokens=7, max_num_seqs=3)
    check_greedy(model, prompts, answers(chunked, prompts))


def test_prefix_cached_is_fresh(case: tuple[Any, Path]) -> None:
    model, folder = case
    (prompt,) = checkpoints.prompts(45, seed=2)
    cached = engine(folder)
    (expected,) = answers(cached, [prompt])
    longer = prompt + expected[:10]
    check_greedy(model, [prompt], [expected])
    again = run(cached, [request("again", prompt), request("longer", longer)])
    check_greedy(model, [prompt, longer], [again[name].token_ids for name in ("again", "longer")])
    assert again["again"].num_cached_tokens >= 40
    assert again["longer"].num_cached_tokens >= 40


def test_preempted_is_undisturbed(case: tuple[Any, Path]) -> None:
    model, folder = case
    prompts = checkpoints.prompts(20, 21, 22, 23, seed=3)
    probe = engine(folder)
    bytes_per_block = probe.info.kv_bytes // probe.info.num_blocks
    for_one = peak_blocks(probe.runner.groups, probe.info.block_size, 48, 8)
    tight = engine(
        folder,
        kv_memory=bytes_per_block * (1 + for_one * 4 // 3),
        max_model_len=48,
        max_num_batched_tokens=8,
        prefix_cache=False,
    )
    check_greedy(model, prompts, answers(tight, prompts))
    if any(group.kind in ("full", "latent") for group in probe.runner.groups):  # others do not grow
        assert tight.stats().num_preemptions > 0


def test_prompt_logprobs(case: tuple[Any, Path]) -> None:
    model, folder = case
    prompts = checkpoints.prompts(33, 12, seed=4)
    params = SamplingParams(max_tokens=0, prompt_logprobs=3)
    small = engine(folder, max_num_batched_tokens=10)
    done = run(small, [request(i, prompt, params) for i, prompt in enumerate(prompts)])
    for i, prompt in enumerate(prompts):
        scored = done[str(i)].prompt_logprobs
        assert scored is not None
        assert len(scored) == len(prompt)
        assert scored[0] is None
        assert done[str(i)].token_ids == []
        expected = checkpoints.logprobs(model, prompt)
        for position in range(1, len(prompt)):
            entry = scored[position]
            check_scores(entry, prompt[position], expected[position - 1])
            assert len(entry.top) == 3


def test_logprobs_of_the_answer(case: tuple[Any, Path]) -> None:
    model, folder = case
    (prompt,) = checkpoints.prompts(9, seed=5)
    params = SamplingParams(temperature=0.0, max_tokens=6, ignore_eos=True, logprobs=2)
    done = run(engine(folder), [request(0, prompt, params)])["0"]
    expected = checkpoints.logprobs(model, prompt + done.token_ids)
    assert done.logprobs is not None
    for token_id, entry, row in zip(
        done.token_ids, done.logprobs, expected[len(prompt) - 1 :], strict=False
    ):
        check_scores(entry, token_id, row)
        assert entry.rank == 1
        assert entry.top[0][1] == entry.logprob
    assert GREEDY.logprobs is None
