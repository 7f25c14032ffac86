"""Drafts that are right and wrong at random, in plain torch, which rounds a row differently beside
others: greedy answers are those without drafts, up to near ties."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests import checkpoints
from tests.drafting import MOST, seen, with_oracle
from tests.engines import GREEDY, answers, engine, request, run
from tests.families import CASES
from tests.near_ties import are_the_same
from unisono.core import SamplingParams
from unisono.engine import Engine

FAMILIES = (
    "gpt-oss",
    "deepseek-v3.2",
    "llama4",
    "qwen3_next",
    "granite-hybrid",
    "phi3-longrope",
)
PROMPTS = checkpoints.prompts(3, 9, 14, 30, seed=6)


def saved(name: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    case = CASES[name]
    model = checkpoints.oracle(case.model_type, **case.options)
    return checkpoints.save(model, tmp_path_factory.mktemp(name))


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(request.param, tmp_path_factory)


@pytest.fixture(scope="module")
def qwen3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved("qwen3", tmp_path_factory)


@pytest.fixture(scope="module")
def recurrent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved("qwen3_next-dense", tmp_path_factory)


def numbered(found: list[list[int]]) -> dict[str, list[int]]:
    return {str(i): answer for i, answer in enumerate(found)}


def is_whole(engine: Engine) -> bool:
    """True where every block has come back."""
    return engine.stats().num_free_blocks == engine.info.num_blocks - 1


def test_every_number_of_drafts_is_accepted(folder: Path) -> None:
    plain = engine(folder)
    expected = answers(plain, PROMPTS)
    drafted = with_oracle(engine(folder), numbered(expected))
    found = seen(drafted)
    assert are_the_same(plain, PROMPTS, answers(drafted, PROMPTS), expected)
    assert are_the_same(plain, PROMPTS, answers(drafted, PROMPTS), expected)  # from the cache
    assert {(n, n) for n in range(1, MOST + 1)} <= found.keys()
    assert {0, 1, 2} <= {accepted for n, accepted in found if accepted < n}
    assert is_whole(drafted)


@pytest.mark.parametrize("which", ["qwen3", "recurrent"])
@pytest.mark.parametrize(
    "options",
    [
        {"kv_memory": 2**17, "max_model_len": 60},
        {"max_num_batched_tokens": 9, "max_num_seqs": 3},
        {"prefix_cache": False, "max_num_seqs": 2, "kv_dtype": "int8"},
    ],
    ids=["preempted", "chunked", "queued-int8"],
)
def test_with_little_room(
    which: str, options: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(which)
    if which == "recurrent" and "kv_memory" in options:
        options = {**options, "kv_memory": 2**20}
    plain = engine(folder, kv_dtype=options.get("kv_dtype", "auto"))
    expected = answers(plain, PROMPTS)
    drafted = with_oracle(engine(folder, **options), numbered(expected))
    assert are_the_same(plain, PROMPTS, answers(drafted, PROMPTS), expected)
    assert drafted.stats().accepted_tokens
    assert is_whole(drafted)


def test_drafts_preempt_nobody(qwen3: Path) -> None:
    """A pool in which all answers just fit holds them with drafts, too."""
    options = {"kv_memory": 13 * 4 * 2 * 2 * 32 * 4 * 4, "max_model_len": 48, "block_size": 4}
    prompts = checkpoints.prompts(20, seed=1)
    params = SamplingParams(temperature=0.0, max_tokens=28, ignore_eos=True)
    plain = engine(qwen3, **options)
    expected = answers(plain, prompts, params)
    drafted = with_oracle(engine(qwen3, **options), numbered(expected))
    assert are_the_same(plain, prompts, answers(drafted, prompts, params), expected)
    assert drafted.stats().num_preemptions == plain.stats().num_preemptions == 0


@pytest.mark.parametrize("which", ["qwen3", "recurrent"])
def test_what_is_shared_has_no_rejected_token(which: str, request: pytest.FixtureRequest) -> None:
    """Requests that go on behind a drafted answer take its blocks over."""
    folder = request.getfixturevalue(which)
    plain = engine(folder, prefix_cache=False)
    expected = answers(plain, PROMPTS)
    drafted = with_oracle(engine(folder), numbered(expected), seed=3)
    answers(drafted, PROMPTS)
    drafted.scheduler.speculation = None
    further = [prompt + answer for prompt, answer in zip(PROMPTS, expected, strict=True)]
    outputs = run(drafted, [request_of(i, prompt) for i, prompt in enumerate(further)])
    cached = [outputs[str(i)].num_cached_tokens for i in range(len(further))]
    assert all(count + 4 >= len(whole) - 1 for count, whole in zip(cached, further, strict=True))
    found = [outputs[str(i)].token_ids for i in range(len(further))]
    assert are_the_same(plain, further, found, answers(plain, further))


def request_of(i: int, prompt: list[int]) -> Any:
    return request(i, prompt, GREEDY)


def test_an_answer_stops_within_accepted_drafts(qwen3: Path) -> None:
    plain = engine(qwen3)
    (expected,) = answers(plain, PROMPTS[:1])
    stop = expected[9]
    params = SamplingParams(temperature=0.0, max_tokens=24, stop_token_ids=(stop,))
    outputs = run(plain, [request("0", PROMPTS[0], params)])["0"]
    for seed in range(8):
        drafted = with_oracle(engine(qwen3), {"0": expected}, seed)
        output = run(drafted, [request("0", PROMPTS[0], params)])["0"]
        assert output.token_ids == outputs.token_ids
        assert (output.finish_reason, output.stop_token_id) == ("stop", stop)
        assert is_whole(drafted)


def test_a_resumed_answer_goes_on_with_drafts(qwen3: Path) -> None:
    plain = engine(qwen3)
    expected = answers(plain, PROMPTS)
    drafted = with_oracle(engine(qwen3), numbered(expected))
    outputs = run(
        drafted,
        [
            request(i, prompt, resumed_token_ids=tuple(expected[i][:7]))
            for i, prompt in enumerate(PROMPTS)
        ],
    )
    found = [expected[i][:7] + outputs[str(i)].token_ids for i in range(len(PROMPTS))]
    assert are_the_same(plain, PROMPTS, found, expected)


def test_a_failed_step_leaves_nothing_behind(recurrent: Path) -> None:
    plain = engine(recurrent)
    expected = answers(plain, PROMPTS)
    drafted = with_oracle(engine(recurrent), numbered(expected))
    run_step, count = drafted.runner.run, iter(range(10_000))

    def shaky(batch: Any) -> Any:
        results = run_step(batch)
        if len(batch.rows) > 1 and next(count) in (3, 9):
            raise RuntimeError("behind the forward pass")
        return results

    drafted.runner.run = shaky  # type: ignore[method-assign]
    assert are_the_same(plain, PROMPTS, answers(drafted, PROMPTS), expected)
    assert is_whole(drafted)
