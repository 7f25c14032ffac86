"""A constraint's state is a function of the answer's tokens: answers are the same in whichever way
the engine comes to them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from tests import checkpoints
from tests.engines import engine as engine_of
from tests.engines import request, run
from tests.lettered import LETTERS, compiler, text
from unisono.core import SamplingParams
from unisono.core.errors import InvalidRequestError
from unisono.engine import Engine

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 3, "maxLength": 20},
        "tags": {
            "type": "array",
            "items": {"enum": ["red", "green"]},
            "minItems": 2,
            "maxItems": 4,
        },
        "n": {"type": "integer", "minimum": 0, "maximum": 5000},
    },
    "required": ["name", "tags", "n"],
    "additionalProperties": False,
}
PARAMS = SamplingParams(temperature=1.0, max_tokens=90, schema=SCHEMA)
FREE = SamplingParams(temperature=1.0, max_tokens=40, ignore_eos=True)
PROMPTS = checkpoints.prompts(9, 18, 25, 12, seed=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = checkpoints.oracle("qwen3", head_dim=16)
    return checkpoints.save(model, tmp_path_factory.mktemp("qwen3"))


def make(folder: Path, **options: Any) -> Engine:
    return engine_of(folder, compiler, **options)


def requests(**fields: Any) -> list[Any]:
    return [request(i, prompt, PARAMS, seed=i, **fields) for i, prompt in enumerate(PROMPTS)]


@pytest.fixture(scope="module")
def alone(folder: Path) -> list[list[int]]:
    engine = make(folder, max_num_seqs=1, prefix_cache=False)
    done = [run(engine, [one])[one.id] for one in requests()]
    check = jsonschema_rs.validator_for(SCHEMA)
    for output in done:
        assert output.error is None
        assert output.finish_reason == "stop"
        assert check.is_valid(json.loads(text(output.token_ids)))
    return [output.token_ids for output in done]


@pytest.mark.parametrize(
    "options",
    [{}, {"max_num_batched_tokens": 9, "max_num_seqs": 3}, {"kv_dtype": "int8"}],
    ids=["together", "chunked", "int8"],
)
def test_in_a_batch_with_others(
    folder: Path, alone: list[list[int]], options: dict[str, Any]
) -> None:
    engine = make(folder, **options)
    others = [request(f"free-{i}", prompt, FREE) for i, prompt in enumerate(PROMPTS[:2])]
    done = run(engine, [others[0], *requests(), others[1]])
    found = [done[str(i)] for i in range(len(PROMPTS))]
    assert [output.finish_reason for output in found] == ["stop"] * len(PROMPTS)
    if "kv_dtype" not in options:
        assert [output.token_ids for output in found] == alone
    again = run(engine, requests())  # what the prefix cache holds
    assert [again[str(i)].token_ids for i in range(len(PROMPTS))] == [
        output.token_ids for output in found
    ]


def test_preempted(folder: Path, alone: list[list[int]]) -> None:
    longest = max(map(len, PROMPTS)) + 90
    engine = make(folder, kv_memory=2**17, max_model_len=longest)
    done = run(engine, requests())
    assert [done[str(i)].token_ids for i in range(len(PROMPTS))] == alone
    assert engine.stats().num_preemptions


def test_resumed(folder: Path, alone: list[list[int]]) -> None:
    engine = make(folder)
    cut = [
        request(i, prompt, PARAMS, seed=i, resumed_token_ids=tuple(answer[: 5 + i]))
        for i, (prompt, answer) in enumerate(zip(PROMPTS, alone, strict=True))
    ]
    done = run(engine, cut)
    assert [answer[: 5 + i] + done[str(i)].token_ids for i, answer in enumerate(alone)] == alone


def test_on_two_ranks(folder: Path, alone: list[list[int]]) -> None:
    engine = make(folder, tensor_parallel=2)
    try:
        done = run(engine, requests())
    finally:
        engine.close()
    assert [done[str(i)].token_ids for i in range(len(PROMPTS))] == alone


def test_a_row_that_fails_fails_alone(folder: Path, alone: list[list[int]]) -> None:
    """One resumes what its schema does not allow, another may take none of the allowed tokens."""
    engine = make(folder)
    spoilt = request("spoilt", PROMPTS[0], PARAMS, resumed_token_ids=(7, 7))
    limited = SamplingParams(schema=SCHEMA, allowed_token_ids=(20,), max_tokens=50)
    stuck = request("stuck", PROMPTS[1], limited)
    done = run(engine, [spoilt, *requests(), stuck])
    assert done["spoilt"].finish_reason == done["stuck"].finish_reason == "error"
    assert "allowed_token_ids" in (done["stuck"].error or "")
    assert [done[str(i)].token_ids for i in range(len(PROMPTS))] == alone


def test_a_constraint_that_cannot_be_fails_alone(folder: Path, alone: list[list[int]]) -> None:
    engine = make(folder)
    wrong = request("wrong", PROMPTS[0], SamplingParams(regex="(", max_tokens=50))
    done = run(engine, [wrong, *requests()])
    assert done["wrong"].finish_reason == "error"
    assert [done[str(i)].token_ids for i in range(len(PROMPTS))] == alone
    assert not engine.has_work


def test_aborted_while_it_is_compiled(folder: Path) -> None:
    engine = make(folder)
    engine.add(requests()[0])
    assert engine.has_work
    engine.abort("0")
    assert not engine.has_work
    assert engine.step() == []


def test_an_engine_without_a_vocabulary_refuses(folder: Path) -> None:
    engine = engine_of(folder)
    with pytest.raises(InvalidRequestError, match="takes no constraints"):
        engine.add(requests()[0])


def test_stop_tokens_come_where_the_answer_is_whole(folder: Path) -> None:
    engine = make(folder)
    stop = 3 + LETTERS.index(b"z")
    bias = {stop: 100}
    params = SamplingParams(regex="[ab]{4}", stop_token_ids=(stop,), logit_bias=bias, max_tokens=50)
    (done,) = run(engine, [request("a", PROMPTS[0], params, seed=1)]).values()
    assert len(done.token_ids) == 5
    assert done.stop_token_id == stop
