"""One answer's text as its tokens arrive: incremental, and cut at a stop text.

Knows tokens, text and stop texts; knows nothing of requests or why else an answer ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unisono.core.errors import InvalidRequestError
from unisono.text.detokenizer import Detokenizer
from unisono.text.stop_texts import StopTexts
from unisono.text.tokenizer import Tokenizer

__all__ = ["TextDelta", "TextStream"]


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
        prompt_token_ids: as in :class:`Detokenizer`.

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
    ) -> None:
        stops = (stop,) if isinstance(stop, str) else tuple(stop)
        if "" in stops:
            raise InvalidRequestError("a stop text has at least one character.", param="stop")
        self._detokenizer = Detokenizer(
            tokenizer,
            skip_special_tokens=skip_special_tokens,
            prompt_token_ids=prompt_token_ids,
        )
        self._stops = StopTexts(stops) if stops else None
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
        if self._stop is not None:
            return TextDelta("", self._stop, 0)
        if self._is_final and token_ids:
            raise ValueError("the answer is finished")
        if self._stops is None:
            return self._push_all(token_ids, final)
        return self._push_each(self._stops, token_ids, final)

    def _push_all(self, token_ids: Sequence[int], final: bool) -> TextDelta:
        if self._is_final:
            return TextDelta("", None, 0)
        text = self._detokenizer.push(token_ids)
        if final:
            self._is_final = True
            text += self._detokenizer.finish()
        return TextDelta(text, self._stop, len(token_ids))

    def _push_each(self, stops: StopTexts, token_ids: Sequence[int], final: bool) -> TextDelta:
        texts = []
        for index, token_id in enumerate(token_ids):
            self._num_tokens += 1
            texts.append(self._advance(stops, self._detokenizer.push((token_id,))))
            if self._stop is not None:
                return TextDelta("".join(texts), self._stop, index + 1)
        if final:
            self._is_final = True
            texts.append(self._advance(stops, self._detokenizer.finish()))
            texts.append(self._held)
            self._held = ""
        return TextDelta("".join(texts), self._stop, len(token_ids))

    def _advance(self, stops: StopTexts, text: str) -> str:
        """Returns what is certain once ``text`` has come."""
        found = stops.advance(text)
        window = self._held + text
        if found and self._num_tokens >= self._min_tokens:
            end, self._stop = found[0]
            certain = len(self._held) + end - (0 if self._include_stop else len(self._stop))
            self._held = ""
        else:
            certain = len(window) - stops.num_held
            self._held = window[certain:]
        return window[:certain]
