"""Drafts that are right and wrong at random, on kernels whose results depend on the row alone:
every answer is, bit for bit, the one without drafts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import checkpoints
from tests.drafting import MOST, seen, with_oracle
from tests.engines import engine, request, run
from tests.families import CASES
from unisono.core import Request, RequestOutput, SamplingParams

FAMILIES = ("qwen3", "gemma3", "qwen3-moe", "lfm2")
GREEDY = SamplingParams(temperature=0.0, max_tokens=40, ignore_eos=True, logprobs=2)
SAMPLED = SamplingParams(
    temperature=0.8,
    top_p=0.95,
    max_tokens=40,
    ignore_eos=True,
    frequency_penalty=0.4,
    repetition_penalty=1.1,
    min_tokens=20,
    stop_token_ids=tuple(range(40)),
    logprobs=0,
)


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    case = CASES[request.param]
    model = checkpoints.oracle(case.model_type, **case.options)
    return checkpoints.save(model, tmp_path_factory.mktemp(request.param))


def requests() -> list[Request]:
    prompts = checkpoints.prompts(3, 9, 14, 30, seed=6)
    return [
        request(i, prompt, [GREEDY, SAMPLED][i % 2], seed=i) for i, prompt in enumerate(prompts)
    ]


def told(outputs: dict[str, RequestOutput]) -> list[object]:
    return [
        (outputs[key].token_ids, outputs[key].logprobs, outputs[key].finish_reason)
        for key in sorted(outputs)
    ]


def test_answers_are_those_without_drafts(folder: Path) -> None:
    plain = run(engine(folder), requests())
    answers = {key: output.token_ids for key, output in plain.items()}
    drafted = with_oracle(engine(folder), answers)
    found = seen(drafted)
    assert told(run(drafted, requests())) == told(plain)
    assert drafted.stats().accepted_tokens
    assert drafted.stats().rejected_tokens
    assert told(run(drafted, requests())) == told(plain)  # from the prefix cache
    assert {(n, n) for n in range(1, MOST + 1)} <= found.keys()
    assert drafted.stats().num_free_blocks == drafted.info.num_blocks - 1
