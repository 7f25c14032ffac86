"""Any text at all: the parts are the same however it is cut, and no plain text is lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.answers import (
    LETTERS,
    MarkTokenizer,
    calls,
    content,
    marks_of,
    parse,
    reasoning,
    without_ids,
    written,
)
from tests.recorded_answers import RECORDED, SCHEMAS, Recorded
from unisono.text.parsers.marked_format import MarkedFormat

TOKENS = MarkTokenizer(None, special=False)
PLAIN = st.text(st.sampled_from("ab \n{}[]\"':,<|>=/"), max_size=20)
WORDS = ["find", "now", "place", "call:", "{", "}", '"name": "find"', '"arguments": {', ",", "("]
ONE_OF_EACH = [
    recorded
    for index, recorded in enumerate(RECORDED)
    if recorded.name not in {other.name for other in RECORDED[:index]}
]
MARKED = [one for one in ONE_OF_EACH if isinstance(one.format, MarkedFormat)]


def pieces_of(recorded: Recorded) -> st.SearchStrategy[str]:
    names = recorded.format.names(with_calls=True)
    parts = [recorded.calls[: len(recorded.calls) // 2], recorded.calls, recorded.said]
    return st.lists(st.one_of(st.sampled_from([*names, *WORDS, *parts]), PLAIN), max_size=8).map(
        "".join
    )


@pytest.mark.parametrize("recorded", ONE_OF_EACH, ids=lambda one: one.name)
@given(data=st.data())
def test_the_same_however_it_is_cut(recorded: Recorded, data: st.DataObject) -> None:
    format = recorded.format
    text = data.draw(pieces_of(recorded))
    is_thinking = data.draw(st.booleans())
    marks = marks_of(format, data.draw(st.sampled_from([LETTERS, TOKENS])))
    text = written(text, format, marks)
    whole = parse(format, marks, [text], SCHEMAS, is_thinking=is_thinking)
    assert without_ids(parse(format, marks, text, SCHEMAS, is_thinking=is_thinking)) == without_ids(
        whole
    )
    at = data.draw(st.integers(0, len(text)))
    pair = parse(format, marks, [text[:at], text[at:]], SCHEMAS, is_thinking=is_thinking)
    assert without_ids(pair) == without_ids(whole)
    assert not any("\ud800" <= letter <= "\udfff" for part in whole for letter in repr(part))


@pytest.mark.parametrize("recorded", MARKED, ids=lambda one: one.name)
@given(thought=PLAIN, before=PLAIN, after=PLAIN)
def test_no_plain_text_is_lost(recorded: Recorded, thought: str, before: str, after: str) -> None:
    """Text beside marks; what stands directly behind a call begins with a letter, for a comma
    there may be part of the calls."""
    format = recorded.format
    assert format.thinking is not None
    marks = marks_of(format, TOKENS)
    before, after = f"A{before}", f"a{after}"
    text = (
        f"{format.thinking.opens}{thought}{format.thinking.closes}{before}{recorded.calls}{after}"
    )
    parts = parse(format, marks, [written(text, format, marks)], SCHEMAS)
    assert reasoning(parts) == thought.strip()
    assert content(parts) == before.rstrip() + after
    assert len(calls(parts)) == 2


@pytest.mark.parametrize("recorded", MARKED, ids=lambda one: one.name)
@given(text=PLAIN)
def test_an_answer_of_plain_text(recorded: Recorded, text: str) -> None:
    assert content(parse(recorded.format, marks_of(recorded.format, TOKENS), text, SCHEMAS)) == text
