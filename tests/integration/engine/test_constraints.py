"""Answers under constraints, on the demo model: they hold, whatever else is in the batch."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema_rs
import pytest

from unisono import LLM, SamplingParams
from unisono.core.constraint import Constraint
from unisono.core.errors import InvalidRequestError

SCHEMA = {
    "type": "object",
    "properties": {
        "topic": {"enum": ["billing", "network", "other"]},
        "urgent": {"type": "boolean"},
        "score": {"type": "integer", "minimum": 0, "maximum": 10},
        "note": {"type": "string", "maxLength": 12},
    },
    "required": ["topic", "urgent", "score", "note"],
    "additionalProperties": False,
}
PROMPTS = ["My broadband is down.", "The bill is wrong, please call me.", "Thanks!"]


@pytest.fixture(scope="module")
def llm() -> LLM:
    return LLM(device="cpu", kv_memory=16 * 2**20, max_num_seqs=16, max_num_batched_tokens=32)


def texts(llm: LLM, prompts: list[str], params: SamplingParams | list[SamplingParams]) -> list[str]:
    return [answer.text for answer in llm.generate(prompts, params)]


def params(**fields: Any) -> SamplingParams:
    return SamplingParams(**{"temperature": 1.2, "seed": 5, "max_tokens": 120, **fields})


@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_answers_are_valid_and_end(llm: LLM, temperature: float) -> None:
    check = jsonschema_rs.validator_for(SCHEMA)
    for answer in llm.generate(PROMPTS, params(schema=SCHEMA, temperature=temperature, n=4)):
        assert check.is_valid(json.loads(answer.text))
        assert answer.finish_reason == "stop"


def test_other_constraints(llm: LLM) -> None:
    for answer in texts(llm, PROMPTS, params(regex=r"[A-Z]{2}-\d{3,5}")):
        assert re.fullmatch(r"[A-Z]{2}-[0-9]{3,5}", answer)
    choices = ["yes", 'no "x"\n\u00e9\\', "maybe"]
    assert set(texts(llm, PROMPTS, params(choice=choices, n=4))) <= set(choices)
    for answer in texts(llm, PROMPTS, params(grammar='start: "<" /[a-f]+/ ">"', max_tokens=900)):
        assert re.fullmatch("<[a-f]+>?", answer)
    for answer in texts(llm, PROMPTS, params(grammar='root ::= "a" ("b" | "c"){2,3}')):
        assert re.fullmatch("a[bc]{2,3}", answer)


def test_a_row_is_the_same_alone_and_among_others(llm: LLM) -> None:
    mixed = [
        params(schema=SCHEMA),
        params(logprobs=2),
        params(regex="[0-9]+", max_tokens=8, repetition_penalty=1.3),
    ]
    alone = [llm.generate(prompt, own)[0] for prompt, own in zip(PROMPTS, mixed, strict=True)]
    together = llm.generate(PROMPTS, mixed)
    assert [one.token_ids for one in together] == [one.token_ids for one in alone]


def test_logprobs_are_those_of_the_model(llm: LLM) -> None:
    (free,) = llm.generate(PROMPTS[0], params(logprobs=1, max_tokens=1))
    (bound,) = llm.generate(PROMPTS[0], params(logprobs=1, max_tokens=1, schema=SCHEMA))
    assert free.logprobs is not None
    assert bound.logprobs is not None
    assert free.logprobs[0].top == bound.logprobs[0].top
    assert bound.logprobs[0].rank > 1


def test_a_constraint_may_begin_behind_a_token(llm: LLM) -> None:
    talk = [{"role": "user", "content": PROMPTS[0]}]
    (free,) = llm.chat(talk, params(temperature=0, max_tokens=6))
    begin = free.token_ids[0]
    at = free.token_ids.index(begin) + 1
    bound = Constraint("choice", '["yes"]', after_token_id=begin)
    (answer,) = llm.chat(talk, params(temperature=0, constraint=bound))
    assert answer.token_ids[:at] == free.token_ids[:at]
    assert llm.tokenizer.decode(answer.token_ids[at:]) == "yes"


def test_reasoning_before_a_constraint_is_free(llm: LLM) -> None:
    """Only where the answer begins with the token that opens it; either way what follows holds."""
    opens, closes = (llm.tokenizer.encode(text)[0] for text in ("The", " is"))
    bound = Constraint("choice", '["yes"]', after_token_id=closes, opening_token_id=opens)
    forced = {"temperature": 0, "constraint": bound, "max_tokens": 40}
    (answer,) = llm.generate(PROMPTS[0], params(**forced, logit_bias={opens: 50, closes: 100}))
    assert answer.token_ids[0] == opens
    at = answer.token_ids.index(closes) + 1
    assert llm.tokenizer.decode(answer.token_ids[at:]) == "yes"
    (answer,) = llm.generate(PROMPTS[0], params(**forced, logit_bias={opens: -100}))
    assert answer.text == "yes"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"schema": {"not": {}}}, "schema"),
        ({"schema": "{"}, "schema"),
        ({"schema": 5}, "schema"),
        ({"regex": "("}, "regex"),
        ({"regex": ""}, "regex"),
        ({"regex": "(?=a)b"}, "regex"),
        ({"grammar": "start: a"}, "grammar"),
        ({"choice": []}, "choice"),
        ({"choice": "yes"}, "choice"),
        ({"regex": "a", "choice": ["b"]}, "choice"),
        ({"regex": "a", "min_tokens": 3}, "min_tokens"),
        ({"regex": "a", "ignore_eos": True}, "ignore_eos"),
    ],
)
def test_what_cannot_be_is_refused_by_name(llm: LLM, fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        llm.generate(PROMPTS[0], params(**fields))
    assert caught.value.param == param
    assert texts(llm, PROMPTS[:1], params(choice=["yes"])) == ["yes"]
