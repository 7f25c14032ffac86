"""Prompts of models that fill in what is missing between two texts.

Such a model was trained on texts whose middle was moved to the end, behind marks that are tokens.
The marks are found in the vocabulary; whether a model was trained with them, that does not say.
Sources: the papers and model cards of StarCoder, CodeLlama, DeepSeek-Coder, Qwen2.5-Coder,
Codestral, CodeGemma and Seed-Coder. Knows tokenizers; nothing of requests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

_ANCHOR = "\u263a"


class _Encoder(Protocol):
    def token_id(self, token: str) -> int | None: ...

    def encode(
        self, text: str, *, add_special_tokens: bool = True, max_tokens: int | None = None
    ) -> list[int]: ...


@dataclass(frozen=True, slots=True)
class _Marks:
    """Marks before the text that goes before, before the one that comes after, and at the end."""

    before: str
    after: str
    middle: str | None
    after_is_first: bool = False
    is_glued: bool = False
    """The text behind the gap begins without the space that the tokenizer puts before a text."""


_KNOWN = (
    _Marks("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    _Marks("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    _Marks("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),
    _Marks("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
    _Marks("▁<PRE>", "▁<SUF>", "▁<MID>", is_glued=True),
    _Marks("<[fim-prefix]>", "<[fim-suffix]>", "<[fim-middle]>", after_is_first=True),
    _Marks("[PREFIX]", "[SUFFIX]", None, after_is_first=True),
)
_ENDS = (
    *("<|endoftext|>", "▁<EOT>", "<|fim_pad|>", "<fim_pad>", "<|repo_name|>", "<|file_sep|>"),
    *("<file_sep>", "<|file_separator|>"),
)
"""Tokens behind which nothing of the gap comes, beside the marks themselves."""


class Infill:
    """The marks of one model, and prompts made with them."""

    def __init__(self, tokenizer: _Encoder, marks: _Marks) -> None:
        self._tokenizer = tokenizer
        self._marks = marks
        names = [name for name in (marks.before, marks.after, marks.middle) if name is not None]
        found = (tokenizer.token_id(name) for name in (*names, *_ENDS))
        self.ends = tuple(token_id for token_id in found if token_id is not None)
        """Tokens that end an answer."""

    @classmethod
    def of(cls, tokenizer: _Encoder) -> Infill | None:
        """``None`` for a model whose vocabulary has no marks that are known."""
        for marks in _KNOWN:
            names = (marks.before, marks.after, marks.middle)
            if all(tokenizer.token_id(name) is not None for name in names if name is not None):
                return cls(tokenizer, marks)
        return None

    def prompt(
        self, before: str, after: str, *, begins: bool = True, max_tokens: int | None = None
    ) -> list[int]:
        """Token ids of a prompt that asks for what is between the two.

        Args:
            begins: with the token that begins a text, where the tokenizer has one.
            max_tokens: of each of the two.

        Raises:
            As ``Tokenizer.encode``.
        """
        marks = self._marks
        start = self._tokenizer.encode("", add_special_tokens=begins)
        first = self._marked(marks.before, before, max_tokens)
        second = self._marked(marks.after, after, max_tokens, is_glued=marks.is_glued)
        pieces = [second, first] if marks.after_is_first else [first, second]
        end = [] if marks.middle is None else [self._id(marks.middle)]
        return [*start, *pieces[0], *pieces[1], *end]

    def _marked(
        self, mark: str, text: str, max_tokens: int | None, *, is_glued: bool = False
    ) -> list[int]:
        anchor = self._encode(_ANCHOR) if is_glued else []
        token_ids = self._encode(_ANCHOR + text if is_glued else text, max_tokens)
        if is_glued and token_ids[: len(anchor)] != anchor:
            anchor, token_ids = [], self._encode(text, max_tokens)
        return [self._id(mark), *token_ids[len(anchor) :]]

    def _encode(self, text: str, max_tokens: int | None = None) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False, max_tokens=max_tokens)

    def _id(self, mark: str) -> int:
        token_id = self._tokenizer.token_id(mark)
        assert token_id is not None
        return token_id
