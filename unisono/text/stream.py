"""One answer's text as its tokens arrive: incremental, and cut at a stop text.

Knows tokens, text and stop texts; knows nothing of requests or why else an answer ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from unisono.core.errors import InvalidRequestError
from unisono.text.detokenizer import Detokenizer
from unisono.text.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class TextDelta:
    """The text that one push added to the answer."""

    text: str
    stop: str | None
    """The stop text that ended the answer, right behind ``text`` or at its end."""
    num_tokens: int
    """Number of the pushed tokens that belong to the answer: all of them, or those up to the one
    that completed the stop text."""


class TextStream:
    """Text that may be the beginning of a stop text is held back until that is certain. The stop
    text that is complete first ends the answer; of several that end together, the longest.

    Args:
        stop: texts that end the answer.
        include_stop: the text that ended the answer is part of it.
        min_tokens: a stop text counts only if the answer has so many tokens when it is complete.
        skip_special_tokens: leave special tokens out of the text.
        prompt_token_ids, marks: as in :class:`Detokenizer`. A mark in a stop text is that token.

    Raises:
        InvalidRequestError: an empty stop text.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        stop: Sequence[str] = (),
        min_tokens: int = 0,
        include_stop: bool = False,
        skip_special_tokens: bool = True,
        prompt_token_ids: Sequence[int] = (),
        marks: Mapping[int, str] | None = None,
    ) -> None:
        stops = (stop,) if isinstance(stop, str) else tuple(stop)
        if "" in stops:
            raise InvalidRequestError("a stop text has at least one character.", param="stop")
        self._detokenizer = Detokenizer(
            tokenizer,
            skip_special_tokens=skip_special_tokens,
            prompt_token_ids=prompt_token_ids,
            marks=marks,
        )
        written = {tokenizer.token_text(token_id): mark for token_id, mark in (marks or {}).items()}
        self._stops = [_Automaton(one, written) for one in stops]
        self._min_tokens = min_tokens
        self._include_stop = include_stop
        self._num_tokens = 0
        self._held = ""
        self._stop: str | None = None
        self._is_final = False

    def push(self, token_ids: Sequence[int], final: bool = False) -> TextDelta:
        """The text that these tokens add; ``final`` says that no more will come.

        After a stop text nothing is added any more.

        Raises:
            ValueError: tokens after the final push.
        """
        if (stop := self._stop) is not None:
            return TextDelta("", stop, 0)
        if self._is_final and token_ids:
            raise ValueError("the answer is finished")
        texts = []
        for index, token_id in enumerate(token_ids):
            self._num_tokens += 1
            texts.append(self._advance(self._detokenizer.push((token_id,))))
            if self._stop is not None:
                return TextDelta("".join(texts), self._stop, index + 1)
        if final:
            self._is_final = True
            texts += [self._advance(self._detokenizer.finish()), self._held]
            self._held = ""
        return TextDelta("".join(texts), self._stop, len(token_ids))

    def _advance(self, text: str) -> str:
        """Returns what is certain once ``text`` has come."""
        if not self._stops:
            return text
        found = [(end, one) for one in self._stops for end in one.advance(text)]
        window = self._held + text
        if found and self._num_tokens >= self._min_tokens:
            end, stop = min(found, key=lambda match: (match[0], -len(match[1].letters)))
            self._stop = stop.stop
            certain = len(self._held) + end - (0 if self._include_stop else len(stop.letters))
            self._held = ""
        else:
            certain = len(window) - max(one.num_matched for one in self._stops)
            self._held = window[certain:]
        return window[:certain]


class _Automaton:
    """Finds one stop text in text that comes bit by bit; a character costs the same whatever came
    before it.

    Knuth, Morris, Pratt: Fast Pattern Matching in Strings, SIAM J. Comput. 1977.

    Args:
        marks: texts of tokens that the text has a mark for.
    """

    def __init__(self, stop: str, marks: Mapping[str, str]) -> None:
        self.stop = stop
        for text, mark in marks.items():
            stop = stop.replace(text, mark)
        self.letters = stop
        self.num_matched = 0
        """Length of the longest proper beginning of ``stop`` that the text so far ends with."""
        self._fallback = [0] * (len(stop) + 1)
        matched = 0
        for index in range(1, len(stop)):
            matched = self._step(stop[index], matched)
            self._fallback[index + 1] = matched

    def advance(self, text: str) -> list[int]:
        """The places in ``text`` at which it completes the stop text."""
        ends = []
        matched = self.num_matched
        for index, letter in enumerate(text):
            matched = self._step(letter, matched)
            if matched == len(self.letters):
                ends.append(index + 1)
                matched = self._fallback[matched]
        self.num_matched = matched
        return ends

    def _step(self, letter: str, matched: int) -> int:
        while matched and self.letters[matched] != letter:
            matched = self._fallback[matched]
        return matched + 1 if self.letters[matched] == letter else 0
