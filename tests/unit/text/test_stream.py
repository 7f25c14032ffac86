"""The stream against the naive definition: decode all, cut at the stop text complete first."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.waiting import computing_at_most
from unisono.core.errors import InvalidRequestError
from unisono.text import Detokenizer, TextDelta, TextStream, Tokenizer

STYLES = ["qwen", "llama2", "gemma"]
_LETTERS = st.text("ab你👍 ", max_size=24)
_STOPS = st.lists(st.text("ab你👍 ", min_size=1, max_size=5), max_size=4)


def texts_by_token(tokenizer: Tokenizer, ids: Sequence[int]) -> list[str]:
    """The text so far behind each token; the last one is final."""
    detokenizer = Detokenizer(tokenizer)
    deltas = [detokenizer.push([token_id]) for token_id in ids]
    if deltas:
        deltas[-1] += detokenizer.finish()
    return list(itertools.accumulate(deltas))


def naive(
    tokenizer: Tokenizer, ids: Sequence[int], stops: Sequence[str], min_tokens: int
) -> tuple[str, str | None, int]:
    texts = texts_by_token(tokenizer, ids)
    seen = ""
    for count, text in enumerate(texts, 1):
        ends = [
            (start + len(stop), start, stop)
            for stop in stops
            for start in range(len(text))
            if text.startswith(stop, start) and start + len(stop) > len(seen)
        ]
        seen = text
        if ends and count >= min_tokens:
            _, start, stop = min(ends)
            return text[:start], stop, count
    return seen, None, len(ids)


@pytest.mark.parametrize("style", STYLES, indirect=True)
@settings(max_examples=80)
@given(
    text=_LETTERS,
    stops=_STOPS,
    min_tokens=st.sampled_from([0, 0, 1, 3, 8]),
    places=st.lists(st.integers(0, 60), max_size=5),
    num_dropped=st.integers(0, 2),
)
@example(text="ababaab", stops=["abaab", "ba"], min_tokens=0, places=[], num_dropped=0)
@example(text="aaab", stops=["aab"], min_tokens=0, places=[1, 2, 3], num_dropped=0)
def test_equals_the_naive_definition(
    tokenizer: Tokenizer,
    text: str,
    stops: list[str],
    min_tokens: int,
    places: list[int],
    num_dropped: int,
) -> None:
    ids = tokenizer.encode(text, add_special_tokens=False)
    ids = ids[: len(ids) - num_dropped]
    expected_text, expected_stop, expected_tokens = naive(tokenizer, ids, stops, min_tokens)
    marks = sorted({0, len(ids), *(place % (len(ids) + 1) for place in places)})
    answer = TextStream(tokenizer, stop=stops, min_tokens=min_tokens)
    num_tokens, got, stop = 0, "", None
    pushes = [ids[start:end] for start, end in itertools.pairwise(marks)] or [[]]
    for index, push in enumerate(pushes):
        delta = answer.push(push, final=index == len(pushes) - 1)
        got, num_tokens, stop = got + delta.text, num_tokens + delta.num_tokens, delta.stop
        assert expected_text.startswith(got)
    assert (got, stop, num_tokens) == (expected_text, expected_stop, expected_tokens)


@pytest.fixture
def qwen(tokenizers_by_style: dict[str, Tokenizer]) -> Tokenizer:
    return tokenizers_by_style["qwen"]


def push_each(answer: TextStream, ids: Sequence[int]) -> list[str]:
    return [answer.push([token_id]).text for token_id in ids]


def test_without_stop_text_comes_at_once(qwen: Tokenizer) -> None:
    answer = TextStream(qwen)
    assert answer.push(qwen.encode("Hello")) == TextDelta("Hello", None, len(qwen.encode("Hello")))
    assert answer.push([], final=True) == TextDelta("", None, 0)
    with pytest.raises(ValueError, match="finished"):
        answer.push([1])


def test_possible_beginnings_are_held_and_released(qwen: Tokenizer) -> None:
    answer = TextStream(qwen, stop=["</end>"])
    parts = [qwen.encode(text) for text in ("a</", "en", "x", "</en")]
    assert [answer.push(part).text for part in parts] == ["a", "", "</enx", ""]
    assert answer.push([], final=True).text == "</en"


def test_nothing_comes_after_the_stop(qwen: Tokenizer) -> None:
    answer = TextStream(qwen, stop=["STOP"])
    ids = [i for letter in "abSTOPcd" for i in qwen.encode(letter)]
    assert answer.push(ids) == TextDelta("ab", "STOP", 6)
    assert answer.push(ids) == TextDelta("", "STOP", 0)
    assert answer.push([], final=True) == TextDelta("", "STOP", 0)


@pytest.mark.parametrize("num_at_once", [1, 3, 100])
def test_the_stop_text_belongs_to_the_answer_on_demand(qwen: Tokenizer, num_at_once: int) -> None:
    ids = [i for letter in "abSTOPcd" for i in qwen.encode(letter)]
    answer = TextStream(qwen, stop=["STOP", "b"], min_tokens=3, include_stop=True)
    deltas = [answer.push(ids[at : at + num_at_once]) for at in range(0, len(ids), num_at_once)]
    assert "".join(delta.text for delta in deltas) == "abSTOP"
    assert deltas[-1].stop == "STOP"
    assert sum(delta.num_tokens for delta in deltas) == 6


def test_min_tokens(qwen: Tokenizer) -> None:
    ids = [i for letter in "a.b.c" for i in qwen.encode(letter)]
    assert TextStream(qwen, stop=["."], min_tokens=2).push(ids).text == "a"
    delta = TextStream(qwen, stop=["."], min_tokens=3).push(ids)
    assert delta == TextDelta("a.b", ".", 4)


def test_special_tokens_are_text_only_on_demand(qwen: Tokenizer) -> None:
    ids = qwen.encode("a<|im_end|>b")
    assert TextStream(qwen, stop=["<|im_end|>"]).push(ids, final=True).text == "ab"
    shown = TextStream(qwen, stop=["<|im_end|>"], skip_special_tokens=False).push(ids)
    assert shown == TextDelta("a", "<|im_end|>", 2)


def test_empty_stop_texts_are_refused(qwen: Tokenizer) -> None:
    with pytest.raises(InvalidRequestError):
        TextStream(qwen, stop=["a", ""])


def test_many_long_stops_stay_cheap(qwen: Tokenizer) -> None:
    answer = TextStream(qwen, stop=["a" * 1000 + chr(200 + i) for i in range(64)])
    ids = qwen.encode("a") * 2000
    with computing_at_most(10):
        texts = push_each(answer, ids)
    assert "".join(texts) + answer.push([], final=True).text == "a" * 2000
