"""Three ways to put text together from the pieces of tokens, one for each kind of vocabulary.

Knows nothing of token ids' meaning or of special tokens; what is skipped never comes here.
"""

from __future__ import annotations

import codecs
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from unisono.text.vocabulary.spelling import Spelling

MAX_RUN_BYTES = 1024
_REPLACEMENT = "\ufffd"
_new_decoder = codecs.getincrementaldecoder("utf-8")


class TextAssembly(ABC):
    @abstractmethod
    def add(self, token_id: int, piece: str | bytes) -> str:
        """The text that one more token makes certain."""

    @abstractmethod
    def finish(self) -> str:
        """The text that was not certain."""

    def interrupt(self) -> str:
        """The text that is certain where something stands that is no text."""
        return ""

    def begin_inside(self) -> None:  # noqa: B027
        """Marks what follows as not the beginning of a text."""

    def forget_given(self) -> None:  # noqa: B027
        """Marks what came so far as a prompt, whose text is not returned."""


class ByteAssembly(TextAssembly):
    """Every piece is bytes: UTF-8 with U+FFFD for each longest invalid part."""

    def __init__(self) -> None:
        self._decoder = _new_decoder("replace")

    def add(self, token_id: int, piece: str | bytes) -> str:
        return self._decoder.decode(piece if isinstance(piece, bytes) else piece.encode())

    def finish(self) -> str:
        return self._decoder.decode(b"", True)

    def interrupt(self) -> str:
        return self.finish()


class PieceAssembly(TextAssembly):
    """Pieces are text, with runs of single bytes between them: a run that is not valid UTF-8 is
    U+FFFD for each of its bytes."""

    def __init__(self, spelling: Spelling) -> None:
        self._joiner = spelling.joiner
        self._strip_char = spelling.strip_char
        self._num_strip = spelling.num_strip
        self._is_first = True
        self._decoder = _new_decoder("strict")
        self._run_text: list[str] = []
        self._run_bytes = 0
        self._is_spoiled = False

    def add(self, token_id: int, piece: str | bytes) -> str:
        if isinstance(piece, bytes):
            return self._strip(self._add_byte(piece))
        joiner = "" if self._is_first else self._joiner
        self._is_first = False
        return self._strip(self._end_run() + joiner + piece)

    def finish(self) -> str:
        return self._strip(self._end_run())

    def interrupt(self) -> str:
        text = self.finish()
        self.begin_inside()
        return text

    def begin_inside(self) -> None:
        self._is_first = False
        self._num_strip = 0

    def _add_byte(self, byte: bytes) -> str:
        if self._is_spoiled:
            return _REPLACEMENT
        self._run_bytes += 1
        try:
            self._run_text.append(self._decoder.decode(byte))
        except UnicodeDecodeError:
            self._is_spoiled = True
            return self._reset_run()
        return self._let_go() if self._run_bytes >= MAX_RUN_BYTES else ""

    def _let_go(self) -> str:
        text = "".join(self._run_text)
        self._run_text.clear()
        self._run_bytes = len(self._decoder.getstate()[0])
        return text

    def _end_run(self) -> str:
        if self._is_spoiled:
            self._is_spoiled = False
            return ""
        if self._run_bytes == 0:
            return ""
        if self._decoder.getstate()[0]:
            return self._reset_run()
        return self._let_go()

    def _reset_run(self) -> str:
        text = _REPLACEMENT * self._run_bytes
        self._decoder.reset()
        self._run_text.clear()
        self._run_bytes = 0
        return text

    def _strip(self, text: str) -> str:
        while text and self._num_strip:
            if text[0] != self._strip_char:
                self._num_strip = 0
                break
            text, self._num_strip = text[1:], self._num_strip - 1
        return text


class WholeAssembly(TextAssembly):
    """Only the decoder itself knows; all text comes at the end."""

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._token_ids: list[int] = []
        self._num_given = 0

    def add(self, token_id: int, piece: str | bytes) -> str:
        self._token_ids.append(token_id)
        return ""

    def finish(self) -> str:
        return self._decode(self._token_ids)[self._num_given :]

    def forget_given(self) -> None:
        self._num_given = len(self._decode(self._token_ids))
