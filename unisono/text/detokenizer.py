"""Turns a growing sequence of tokens into text, piece by piece.

Knows how the vocabulary writes text; knows nothing of stop texts or requests. Work and memory per
token are constant: nothing is decoded twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from unisono.text.tokenizer import Tokenizer
from unisono.text.vocabulary.text_assembly import (
    ByteAssembly,
    PieceAssembly,
    TextAssembly,
    WholeAssembly,
)

_PROMPT_TAIL = 2048


class Detokenizer:
    """The deltas of all :meth:`push` and of :meth:`finish` together are ``tokenizer.decode`` of
    all ids, however these are cut into pushes.

    Text is held back while it could still change: the first bytes of a character, and in
    vocabularies with byte fallback a run of byte tokens, which the decoder turns into U+FFFD
    throughout if any of it is invalid. A run that is valid for ``MAX_RUN_BYTES`` is let go
    character by character; only if such a run goes wrong later does the text differ from
    ``decode``, which would take back the characters already given.

    Args:
        skip_special_tokens: leave out special tokens.
        prompt_token_ids: what the sequence goes on from. Its text is not given again, but the
            first delta is what follows behind it: a leading space stays, and a character that the
            prompt has begun is completed.
        marks: token ids that are given as the text named here, whatever else is left out.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        skip_special_tokens: bool = True,
        prompt_token_ids: Sequence[int] = (),
        marks: Mapping[int, str] | None = None,
    ) -> None:
        self._marks = marks or {}
        self._tokenizer = tokenizer
        self._skipped = tokenizer.special_ids if skip_special_tokens else frozenset()
        self._assembly = _assembly_for(tokenizer)
        self._is_first = len(prompt_token_ids) <= _PROMPT_TAIL
        self._is_finished = False
        if not self._is_first:
            self._assembly.begin_inside()
        self.push(prompt_token_ids[-_PROMPT_TAIL:])
        self._assembly.forget_given()

    def push(self, token_ids: Sequence[int]) -> str:
        """The text that these tokens make certain.

        Raises:
            ValueError: after :meth:`finish`.
        """
        if self._is_finished:
            raise ValueError("the text is finished")
        return "".join(map(self._push_token, token_ids))

    def finish(self) -> str:
        """Returns what was held back; a character that has not come whole is U+FFFD."""
        if self._is_finished:
            return ""
        self._is_finished = True
        return self._assembly.finish()

    def _push_token(self, token_id: int) -> str:
        if (mark := self._marks.get(token_id)) is not None:
            self._is_first = False
            return self._assembly.interrupt() + mark
        if token_id in self._skipped:
            return ""
        tokenizer = self._tokenizer
        piece = tokenizer.first_piece(token_id) if self._is_first else tokenizer.piece(token_id)
        if piece is None:
            return ""
        self._is_first = False
        return self._assembly.add(token_id, piece)


def _assembly_for(tokenizer: Tokenizer) -> TextAssembly:
    spelling = tokenizer.spelling
    if not spelling.streamed:
        return WholeAssembly(lambda ids: tokenizer.decode(ids, skip_special_tokens=False))
    return ByteAssembly() if spelling.byte_level else PieceAssembly(spelling)
