"""Texts are enforced exactly in vocabularies of every kind: whatever tokens spell an answer, what a
client reads is one of the texts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import pytest

from tests.vocabularies import CORPUS, SENTENCEPIECE, TIKTOKEN
from unisono.core.constraint import Constraint
from unisono.core.request import RequestOutput
from unisono.core.sampling import SamplingParams
from unisono.text.answer import Answer, AnswerStream
from unisono.text.grammar.compiler import GrammarCompiler
from unisono.text.grammar.matcher import ConstraintFailedError
from unisono.text.grammar.vocabulary import Vocabulary
from unisono.text.tokenizer import Tokenizer

KINDS: dict[str, Callable[[Path], Path]] = {**SENTENCEPIECE, **TIKTOKEN}
TEXTS = [*CORPUS[:5], '{"a b":  "ç\\n"}', "x", "\t tabs and  spaces ", "🙂 \u2003 未知"]


@pytest.mark.parametrize("kind", KINDS)
def test_texts_are_enforced(kind: str, tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(KINDS[kind](tmp_path / kind))
    vocabulary = Vocabulary.of(tokenizer)
    size = len(vocabulary.tokens)
    end = size  # a token of its own, behind the vocabulary
    compiler = GrammarCompiler(lambda: vocabulary, size + 1, [end])
    constraint = Constraint.of("choice", TEXTS)
    words = np.zeros(-(-(size + 1) // 32), np.uint32)
    seen = set()
    for seed in range(24):
        matcher, choice, ids = compiler.matcher(constraint), Random(seed), list[int]()
        while True:
            matcher.fill(words.ctypes.data)
            bits = np.unpackbits(words.view(np.uint8), bitorder="little")[: size + 1]
            token_id = choice.choice(np.flatnonzero(bits).tolist())
            if token_id == end:
                break
            ids.append(token_id)
            matcher.advance([token_id])
        seen.add(text := read(tokenizer, ids))
        assert text in TEXTS
    assert len(seen) > 3


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_as_the_model_spells_it_is_allowed(kind: str, tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(KINDS[kind](tmp_path / kind))
    vocabulary = Vocabulary.of(tokenizer)
    size = len(vocabulary.tokens)
    compiler = GrammarCompiler(lambda: vocabulary, size + 1, [size])
    for text in TEXTS:
        before = tokenizer.encode("a", add_special_tokens=False)
        ids = tokenizer.encode(f"a{text}", add_special_tokens=False)
        if ids[: len(before)] != before or tokenizer.decode(ids) != f"a{text}":
            continue  # a token in common, or a vocabulary that says some letters in others
        matcher = compiler.matcher(Constraint.of("choice", [text]))
        matcher.advance(ids[len(before) :])
        assert matcher.may_end
        with pytest.raises(ConstraintFailedError):
            matcher.advance(ids[:1])


def read(tokenizer: Tokenizer, ids: list[int]) -> str:
    """The answer of a chat that has these tokens."""
    stream, answer = AnswerStream(tokenizer, SamplingParams()), Answer()
    for index, token_id in enumerate(ids):
        reason = "stop" if index + 1 == len(ids) else None
        answer.add(stream.take(RequestOutput("r", [token_id], finish_reason=reason)))
    return answer.text
