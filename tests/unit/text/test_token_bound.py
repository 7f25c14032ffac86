"""A bound from below on a text's tokens: it never lies, and it is near enough to be of use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, normalizers, pre_tokenizers
from tokenizers import Tokenizer as Backend

from tests.small_tokenizers import STYLES
from tests.waiting import computing_at_most
from unisono.core.errors import ContextLengthError, InvalidRequestError
from unisono.text import Tokenizer, token_bound
from unisono.text.token_bound import read_token_bound

PIECES = [
    "a",
    "Z",
    "7",
    " ",
    "\n",
    ".",
    "é",
    "e\u0301",
    "世",
    "ﬁ",
    "\u212a",
    "K\u0307",
    "  ",
    "\u3000",
]
PIECES += [
    "hello",
    "</s>",
    "<|im_end|>",
    "<think>",
    "\u0345",
    "가",
    "ᄀ\u1161",
    "👩‍👩‍👧",
    "İ",
    "``",
    "\x00",
]
BOUNDED = ("qwen", "llama3", "llama2", "gemma", "metaspace")


def changed(style: str, change: Any) -> Backend:
    backend = STYLES[style]()[0]
    change(backend)
    return backend


def set_normalizer(*steps: Any) -> Any:
    return lambda backend: setattr(backend, "normalizer", normalizers.Sequence(list(steps)))


def prepend(step: Any) -> Any:
    def change(backend: Backend) -> None:
        own = backend.pre_tokenizer
        backend.pre_tokenizer = pre_tokenizers.Sequence([step] if own is None else [step, own])

    return change


CHANGES = {
    "nfkc": set_normalizer(normalizers.NFKC()),
    "nfd": set_normalizer(normalizers.NFD(), normalizers.StripAccents()),
    "lower": set_normalizer(normalizers.Lowercase(), normalizers.NFC()),
    "strip": set_normalizer(normalizers.Strip(), normalizers.Replace(Regex(" {2,}"), " ")),
    "shorter": set_normalizer(normalizers.Replace("hello", ""), normalizers.Replace("``", '"')),
    "longer": set_normalizer(normalizers.Replace("a", "aaaa")),
    "vanish": set_normalizer(normalizers.Replace(Regex("[a-z]"), "")),
    "bert": set_normalizer(normalizers.BertNormalizer()),
    "spaces": prepend(pre_tokenizers.WhitespaceSplit()),
    "dropped": prepend(pre_tokenizers.Split(Regex("[a-z0-9]+"), "removed")),
    "added": lambda backend: backend.add_tokens(
        [AddedToken("hello" * 9, lstrip=True, rstrip=True), AddedToken("世" * 40)]
    ),
}


def texts() -> st.SearchStrategy[str]:
    runs = st.tuples(st.sampled_from(PIECES), st.integers(1, 40))
    return st.lists(runs, max_size=12).map(
        lambda parts: "".join(piece * count for piece, count in parts)
    )


@pytest.fixture(params=["one slice", "many slices"])
def slices(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "many slices":
        monkeypatch.setattr(token_bound, "_SLICE_CHARS", 37)


QUIET = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.mark.usefixtures("slices")
@QUIET
@given(text=texts())
def test_no_text_is_said_to_have_more_tokens_than_it_has(tokenizer: Tokenizer, text: str) -> None:
    num_tokens = len(tokenizer.encode(text, add_special_tokens=False))
    tokenizer.check_length(text, num_tokens)


@pytest.mark.usefixtures("slices")
@pytest.mark.parametrize("style", ["qwen", "llama2"])
@pytest.mark.parametrize("change", CHANGES)
@QUIET
@given(text=texts())
def test_the_same_of_unusual_steps(style: str, change: str, text: str) -> None:
    backend = _changed_once(style, change)
    bound = _bounds[style, change]
    num_tokens = len(backend.encode(text, add_special_tokens=False).ids)
    assert not bound.is_exceeded(text, num_tokens)


_backends: dict[tuple[str, str], Backend] = {}
_bounds: dict[tuple[str, str], token_bound.TokenBound] = {}


def _changed_once(style: str, change: str) -> Backend:
    key = (style, change)
    if key not in _backends:
        _backends[key] = changed(style, CHANGES[change])
        _bounds[key] = read_token_bound(_backends[key])
    return _backends[key]


@pytest.mark.parametrize("style", BOUNDED)
@pytest.mark.parametrize(
    "text",
    ["x" * 200, "The quick brown fox. ", "统一的引擎在每一种硬件上", "a b c d ", "3.14 2.71\n"],
)
def test_what_is_much_too_long_is_found(
    tokenizers_by_style: dict[str, Tokenizer], style: str, text: str
) -> None:
    tokenizer = tokenizers_by_style[style]
    num_tokens = len(tokenizer.encode(text * 50, add_special_tokens=False))
    with pytest.raises(ContextLengthError):
        tokenizer.check_length(text * 5000, num_tokens)


def test_eight_megabytes_are_refused_at_once(tokenizers_by_style: dict[str, Tokenizer]) -> None:
    tokenizer = tokenizers_by_style["qwen"]
    for text in ("x" * (8 << 20), "世界 " * (2 << 20), "e\u0301" * (4 << 20)):
        with computing_at_most(2):
            with pytest.raises(ContextLengthError):
                tokenizer.encode(text, max_tokens=32768)
            with pytest.raises(ContextLengthError):
                tokenizer.encode_chat([{"role": "user", "content": text}], max_tokens=32768)


def test_the_limit_is_exact(tokenizers_by_style: dict[str, Tokenizer]) -> None:
    for tokenizer in (tokenizers_by_style["llama3"], tokenizers_by_style["wordpiece"]):
        token_ids = tokenizer.encode("hello world!")
        assert tokenizer.encode("hello world!", max_tokens=len(token_ids)) == token_ids
        with pytest.raises(ContextLengthError, match=rf"{len(token_ids) - 1} tokens and has"):
            tokenizer.encode("hello world!", max_tokens=len(token_ids) - 1)
        with pytest.raises(InvalidRequestError, match="surrogate"):
            tokenizer.encode("\ud800", max_tokens=5)


def test_where_nothing_is_certain_nothing_is_refused(folders: dict[str, Path]) -> None:
    for style in ("words", "wordpiece"):
        Tokenizer.load(folders[style]).check_length("x" * 100_000, 1)


def test_an_alphabet_with_gaps_bounds_nothing(folders: dict[str, Path], tmp_path: Path) -> None:
    """A letter that is no token becomes part of an unknown one, which may be of any length."""
    content = json.loads((folders["llama2"] / "tokenizer.json").read_text("utf-8"))
    content["model"]["byte_fallback"] = False
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    tokenizer = Tokenizer.load(tmp_path)
    text = "ÿ" * 10_000
    tokenizer.check_length(text, len(tokenizer.encode(text)))
