"""Answers in the words of each format, and small tokenizers to write them with."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import Any, cast

from unisono.text.parsers.answer_format import AnswerFormat
from unisono.text.parsers.answer_parser import AnswerParser
from unisono.text.parsers.marks import Marks
from unisono.text.parts import Content, Part, Reasoning, ToolCall, join
from unisono.text.tokenizer import Tokenizer

_TOKEN = re.compile(r"<[^<>\s]+>|\[/?[A-Z_]+\]|\]<\]minimax\[>\[|｜DSML｜")
_TEXT = re.compile("[\ud800-\udfff]|[A-Za-z]{1,3}|.", re.S)


class MarkTokenizer:
    """Tells which texts are tokens; of the rest it knows nothing.

    Args:
        tokens: None for every mark that looks like one; then letters around it are none.
        special: they are special tokens.
    """

    def __init__(self, tokens: Iterable[str] | None = (), *, special: bool = True) -> None:
        self._all = tokens is None
        self._ids = {token: index for index, token in enumerate(tokens or ())}
        self._special = special
        self.spelling = SimpleNamespace(streamed=True)

    def token_id(self, token: str) -> int | None:
        if self._all and _TOKEN.fullmatch(token):
            return self._ids.setdefault(token, len(self._ids))
        return self._ids.get(token)

    def is_special(self, token_id: int) -> bool:
        return self._special


LETTERS = MarkTokenizer()
"""No mark is a token."""


def marks_of(format: AnswerFormat, tokenizer: MarkTokenizer, *, with_calls: bool = True) -> Marks:
    return Marks(cast(Tokenizer, tokenizer), format.names(with_calls=with_calls))


def written(text: str, format: AnswerFormat, marks: Marks) -> str:
    """A text as a parser gets it: tokens as characters."""
    names = {name for name in format.names(with_calls=True) if marks.is_token(name)}
    for name in sorted(names, key=len, reverse=True):
        text = text.replace(name, marks.written(name))
    return marks.written(text)


def tokens_of(text: str) -> list[str]:
    """A text as some vocabulary might cut it."""
    return _TEXT.findall(text)


def parse(
    format: AnswerFormat,
    marks: Marks,
    pieces: Iterable[str],
    schemas: Mapping[str, Mapping[str, Any]],
    *,
    is_thinking: bool = False,
) -> list[Part]:
    parser = AnswerParser(format, marks, schemas, is_thinking=is_thinking)
    parts = [part for piece in pieces for part in parser.push(piece)]
    return join([*parts, *parser.push("", final=True)])


def without_ids(parts: Iterable[Part]) -> list[tuple[str, ...]]:
    return [
        ("call", part.name, part.arguments)
        if isinstance(part, ToolCall)
        else (type(part).__name__.lower(), part.text)
        for part in parts
    ]


def content(parts: Iterable[Part]) -> str:
    return "".join(part.text for part in parts if isinstance(part, Content))


def reasoning(parts: Iterable[Part]) -> str:
    return "".join(part.text for part in parts if isinstance(part, Reasoning))


def calls(parts: Iterable[Part]) -> list[ToolCall]:
    return [part for part in parts if isinstance(part, ToolCall)]
