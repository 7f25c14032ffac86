"""Every format over its recorded answers, whole and in pieces."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise, product

import pytest

from tests.answers import (
    LETTERS,
    MarkTokenizer,
    calls,
    content,
    marks_of,
    parse,
    reasoning,
    tokens_of,
    without_ids,
    written,
)
from tests.recorded_answers import ARGUMENTS, BARE, RECORDED, SAID, SCHEMAS, THOUGHT, Recorded
from unisono.text.parsers.finding import FORMATS
from unisono.text.parsers.marked_format import MarkedFormat
from unisono.text.parts import Part

BURSTS = (1, 2, 3, 5, 8, 13)
AT_A_BREAK = 3
"""Sizes of bursts that are tried where an answer breaks off: all take turns."""
TOKENIZERS = {"letters": LETTERS, "tokens": MarkTokenizer(None)}


def bursts(tokens: list[str], size: int, first: int) -> list[str]:
    cuts = [0, *range(first, len(tokens), size), len(tokens)]
    return ["".join(tokens[start:end]) for start, end in pairwise(cuts)]


def check_calls(parts: list[Part]) -> None:
    got = [(call.name, json.loads(call.arguments)) for call in calls(parts)]
    assert got == [("find", ARGUMENTS), ("now", {})]
    assert [call.index for call in calls(parts)] == [0, 1]
    assert all(call.id for call in calls(parts))


@pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=list(TOKENIZERS))
@pytest.mark.parametrize("recorded", RECORDED, ids=lambda one: one.name)
def test_an_answer(recorded: Recorded, tokenizer: MarkTokenizer) -> None:
    format = recorded.format
    marks = marks_of(format, tokenizer)
    text = written(recorded.said + recorded.calls, format, marks)
    parts = parse(format, marks, [text], SCHEMAS)
    check_calls(parts)
    assert content(parts) == SAID
    assert reasoning(parts) == (THOUGHT if THOUGHT in recorded.said else "")


@pytest.mark.parametrize("recorded", BARE, ids=lambda one: one.name)
def test_an_answer_that_is_nothing_but_calls(recorded: Recorded) -> None:
    format = recorded.format
    parts = parse(format, marks_of(format, LETTERS), [recorded.calls], SCHEMAS)
    check_calls(parts)
    assert (content(parts), reasoning(parts)) == ("", "")


def test_every_format_is_recorded() -> None:
    assert {kind.name for kind in FORMATS} == {recorded.name for recorded in RECORDED}


def streams(recorded: Recorded) -> Iterator[str]:
    """An answer, and what goes wrong with answers."""
    said, made = recorded.said, recorded.calls
    yield said + made
    yield made + " Done.\n"
    thought = said.partition(THOUGHT)
    if thought[1]:
        yield "".join(thought[:2]) + made
    if isinstance(recorded.format, MarkedFormat):
        yield f"{said} {recorded.format.opens[0]} means a call. {recorded.format.opens[-1]}{{[0]}}"


@pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=list(TOKENIZERS))
@pytest.mark.parametrize("recorded", [*RECORDED, *BARE], ids=lambda one: one.name)
def test_the_same_however_it_is_cut(recorded: Recorded, tokenizer: MarkTokenizer) -> None:
    """Also where it breaks off, at each token."""
    format = recorded.format
    marks = marks_of(format, tokenizer)
    for stream in streams(recorded):
        tokens = tokens_of(written(stream, format, marks))
        for end in range(1, len(tokens) + 1):
            broken = tokens[:end]
            whole = without_ids(parse(format, marks, ["".join(broken)], SCHEMAS))
            for cut in all_cuts(tokens) if end == len(tokens) else some_cuts(broken):
                assert without_ids(parse(format, marks, cut, SCHEMAS)) == whole, cut


def all_cuts(tokens: list[str]) -> Iterator[list[str]]:
    """Every burst at every offset."""
    for size in BURSTS:
        for first in range(1, size + 1):
            yield bursts(tokens, size, first)


def some_cuts(tokens: list[str]) -> Iterator[list[str]]:
    for turn in range(len(tokens), len(tokens) + AT_A_BREAK):
        size = BURSTS[turn % len(BURSTS)]
        yield bursts(tokens, size, 1 + len(tokens) % size)


def test_so_many_cuts() -> None:
    count = 0
    for recorded, tokenizer in product([*RECORDED, *BARE], TOKENIZERS.values()):
        marks = marks_of(recorded.format, tokenizer)
        for stream in streams(recorded):
            tokens = tokens_of(written(stream, recorded.format, marks))
            count += sum(BURSTS) + (len(tokens) - 1) * AT_A_BREAK
    assert count >= 100_000
