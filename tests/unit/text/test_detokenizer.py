"""Streamed text is the decoded text, however the tokens are cut."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vocabularies import SENTENCEPIECE, TIKTOKEN
from tests.waiting import computing_at_most
from unisono.text import Detokenizer, Tokenizer
from unisono.text.vocabulary.text_assembly import MAX_RUN_BYTES

FRAGMENTS = [
    *("Hello", " world", "  ", "\n", "你好", "，世界", "引擎", "café", "e\u0301", "ก็"),
    *(
        "👩‍👩‍👧‍👦",
        "🇨🇳",
        "👍🏽",
        "\u200d",
        "𠮷",
        "\ufffd",
        "<s>",
        "</s>",
        "<|im_end|>",
        "<think>",
        "▁",
        "é",
    ),
]
TEXTS = st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=4), max_size=8).map("".join)
_SETTINGS = settings(max_examples=30)


def cut(ids: Sequence[int], places: Sequence[int]) -> list[Sequence[int]]:
    marks = sorted({0, len(ids), *(place % (len(ids) + 1) for place in places)})
    return [ids[start:end] for start, end in itertools.pairwise(marks)]


def stream(detokenizer: Detokenizer, pushes: Sequence[Sequence[int]]) -> list[str]:
    return [*(detokenizer.push(ids) for ids in pushes), detokenizer.finish()]


@st.composite
def sequences(draw: st.DrawFn, tokenizer: Tokenizer) -> list[int]:
    """Tokens of real text, of cut text, and any tokens at all (bytes above all)."""
    any_id = st.integers(0, tokenizer.vocab_size + 2)
    pieces = st.lists(
        st.one_of(
            TEXTS.map(lambda text: tokenizer.encode(text, add_special_tokens=False)),
            TEXTS.map(lambda text: tokenizer.encode(text)[:-1]),
            st.lists(any_id | st.integers(0, 260), max_size=6),
        ),
        max_size=4,
    )
    return list(itertools.chain.from_iterable(draw(pieces)))


@_SETTINGS
@given(data=st.data())
def test_deltas_are_the_decoded_text(tokenizer: Tokenizer, data: st.DataObject) -> None:
    ids = data.draw(sequences(tokenizer))
    places = data.draw(st.lists(st.integers(0, 200), max_size=6))
    skip = data.draw(st.booleans())
    expected = tokenizer.decode(ids, skip_special_tokens=skip)
    for pushes in (cut(ids, places), [[token_id] for token_id in ids]):
        deltas = stream(Detokenizer(tokenizer, skip_special_tokens=skip), pushes)
        assert "".join(deltas) == expected


@_SETTINGS
@given(data=st.data())
def test_behind_a_prompt(tokenizer: Tokenizer, data: st.DataObject) -> None:
    """Prompt (as streamed) and answer together are the text of both together."""
    prompt, ids = data.draw(sequences(tokenizer)), data.draw(sequences(tokenizer))
    given_before = Detokenizer(tokenizer).push(prompt)
    detokenizer = Detokenizer(tokenizer, prompt_token_ids=prompt)
    answer = "".join(stream(detokenizer, [[token_id] for token_id in ids]))
    if tokenizer.spelling.streamed:
        assert given_before + answer == tokenizer.decode([*prompt, *ids])
    else:
        assert answer == tokenizer.decode([*prompt, *ids])[len(tokenizer.decode(prompt)) :]


@pytest.mark.parametrize(
    "style",
    ["qwen", "llama2", "gemma", "metaspace", *SENTENCEPIECE, *TIKTOKEN],
    indirect=True,
)
def test_no_half_characters_and_no_waiting(tokenizer: Tokenizer) -> None:
    text = "好 a 👍🏽 b 好"
    ids = tokenizer.encode(text, add_special_tokens=False)
    deltas = stream(Detokenizer(tokenizer), [[token_id] for token_id in ids])
    assert "".join(deltas).removeprefix(" ") == text
    assert all("\ufffd" not in delta for delta in deltas)
    assert sum(bool(delta) for delta in deltas) >= 5


def test_leading_space(tokenizers_by_style: dict[str, Tokenizer]) -> None:
    llama2 = tokenizers_by_style["llama2"]
    ids = llama2.encode("Hello", add_special_tokens=False)
    assert "".join(stream(Detokenizer(llama2), [ids])) == "Hello"
    prompt = llama2.encode("The")
    assert "".join(stream(Detokenizer(llama2, prompt_token_ids=prompt), [ids])) == " Hello"
    long = prompt * 2000
    assert "".join(stream(Detokenizer(llama2, prompt_token_ids=long), [ids])) == " Hello"


def test_leading_space_of_a_sentencepiece_model(tokenizers_by_style: dict[str, Tokenizer]) -> None:
    for style, begins in (("spm_llama", "the"), ("spm_gemma", " the"), ("spm_legacy", "the")):
        tokenizer = tokenizers_by_style[style]
        word = tokenizer.token_id("▁the")
        assert word is not None
        assert "".join(stream(Detokenizer(tokenizer), [[word], [word]])) == begins + " the"
        prompt = tokenizer.encode("The")
        answer = Detokenizer(tokenizer, prompt_token_ids=prompt)
        assert "".join(stream(answer, [[word], [word]])) == " the the"


def test_a_prompt_may_end_inside_a_character(tokenizers_by_style: dict[str, Tokenizer]) -> None:
    for style in ("qwen", "llama2", "spm_llama", "spm_gemma", "kimi", "tekken"):
        tokenizer = tokenizers_by_style[style]
        ids = [
            next(i for i in range(tokenizer.vocab_size) if tokenizer.token_bytes(i) == bytes([b]))
            for b in "👍".encode()
        ]
        detokenizer = Detokenizer(tokenizer, prompt_token_ids=ids[:2])
        assert "".join(stream(detokenizer, [ids[2:]])) == "👍"


def test_long_valid_runs_are_let_go(tokenizers_by_style: dict[str, Tokenizer]) -> None:
    """Byte fallback: beyond the bound, characters come at once and stay what they were."""
    llama2 = tokenizers_by_style["llama2"]
    thumb = [3 + byte for byte in "👍".encode()]
    detokenizer = Detokenizer(llama2)
    num_thumbs = MAX_RUN_BYTES // 4
    assert detokenizer.push(thumb * (num_thumbs - 1)) == ""
    assert detokenizer.push(thumb) == "👍" * num_thumbs
    assert detokenizer.push(thumb[:2]) == ""
    assert detokenizer.finish() == "\ufffd" * 2


@pytest.mark.parametrize("style", ["qwen", "llama2"], indirect=True)
@pytest.mark.parametrize("byte", [0xE4, 0x80, 0xFF])
def test_long_runs_of_invalid_bytes_cost_no_more(tokenizer: Tokenizer, byte: int) -> None:
    token_id = next(
        i for i in range(tokenizer.vocab_size) if tokenizer.token_bytes(i) == bytes([byte])
    )
    ids = [token_id] * 15_000
    with computing_at_most(10):
        deltas = stream(Detokenizer(tokenizer), [[i] for i in ids])
    assert "".join(deltas) == tokenizer.decode(ids)


def test_nothing_after_finish(tokenizers_by_style: dict[str, Tokenizer]) -> None:
    detokenizer = Detokenizer(tokenizers_by_style["qwen"])
    detokenizer.finish()
    assert detokenizer.finish() == ""
    with pytest.raises(ValueError, match="finished"):
        detokenizer.push([1])
