"""An answer's deltas: cut to what is to be seen, and together what one output would have given."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unisono.core import RequestOutput, SamplingParams, TokenLogprob
from unisono.text import Answer, AnswerStream, Content, Tokenizer

TEXT = "one two STOP three"
SEEN = ("text", "parts", "token_ids", "logprobs", "finish_reason", "stop", "num_cached_tokens")


@pytest.fixture(scope="session")
def qwen(tokenizers_by_style: dict[str, Tokenizer]) -> Tokenizer:
    return tokenizers_by_style["qwen"]


def output(token_ids: list[int], *, is_last: bool) -> RequestOutput:
    return RequestOutput(
        "r",
        token_ids,
        logprobs=[TokenLogprob(token_id, -1.0, 1) for token_id in token_ids],
        finish_reason="length" if is_last else None,
        num_cached_tokens=4,
    )


def whole(tokenizer: Tokenizer, cuts: list[int], **params: Any) -> Answer:
    ids = tokenizer.encode(TEXT)
    marks = sorted({0, len(ids), *(cut % len(ids) for cut in cuts)})
    stream, answer = AnswerStream(tokenizer, SamplingParams(**params), index=2), Answer(2)
    for start, end in pairwise(marks):
        delta = stream.take(output(ids[start:end], is_last=end == len(ids)))
        assert delta.index == 2
        answer.add(delta)
        if delta.finish_reason is not None:
            assert delta.is_cut == bool(params.get("stop"))
            break
    return answer


@given(cuts=st.lists(st.integers(0, 100), max_size=6))
@pytest.mark.parametrize("params", [{}, {"stop": ("STOP",)}])
def test_the_deltas_are_the_answer(
    qwen: Tokenizer, params: dict[str, Any], cuts: list[int]
) -> None:
    found, expected = whole(qwen, cuts, **params), whole(qwen, [], **params)
    assert [getattr(found, name) for name in SEEN] == [getattr(expected, name) for name in SEEN]


def test_a_whole_answer(qwen: Tokenizer) -> None:
    answer = whole(qwen, [])
    assert answer.parts == (Content(TEXT),)
    assert (answer.text, answer.finish_reason, answer.stop) == (TEXT, "length", None)
    assert answer.token_ids == qwen.encode(TEXT)
    assert answer.num_cached_tokens == 4


def test_an_answer_ends_before_its_stop_text(qwen: Tokenizer) -> None:
    answer = whole(qwen, [3, 5], stop=("STOP",))
    assert (answer.text, answer.finish_reason, answer.stop) == ("one two ", "stop", "STOP")
    assert answer.logprobs is not None
    assert [item.token_id for item in answer.logprobs] == answer.token_ids
    assert answer.token_ids == qwen.encode(TEXT)[: len(answer.token_ids)]


def test_an_answer_without_tokens_has_no_parts() -> None:
    assert (Answer().parts, Answer().text, Answer().logprobs) == ((), "", None)
