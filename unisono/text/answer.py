"""An answer's part of each step: the engine's token output cut to what the client is to see.

Knows outputs and text; nothing of who asked or who computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unisono.core.request import FinishReason, RequestOutput, TokenLogprob
from unisono.core.sampling import SamplingParams
from unisono.text.stream import TextStream
from unisono.text.tokenizer import Tokenizer

__all__ = ["AnswerPart", "AnswerStream"]


@dataclass(frozen=True, slots=True)
class AnswerPart:
    """What one output added. ``stop`` is the stop text or the token id that ended the answer."""

    text: str
    token_ids: list[int]
    logprobs: list[TokenLogprob] | None
    finish_reason: FinishReason | None
    stop: str | int | None

    @property
    def ended_by_text(self) -> bool:
        """The engine does not know of stop texts: it still has the request, to be aborted."""
        return isinstance(self.stop, str)


class AnswerStream:
    """Takes a request's outputs in order. ``prompt_token_ids``: as in :class:`Detokenizer`."""

    def __init__(
        self, tokenizer: Tokenizer, params: SamplingParams, prompt_token_ids: Sequence[int] = ()
    ) -> None:
        self._includes_stop = params.include_stop_str_in_output
        self._text = TextStream(
            tokenizer,
            stop=params.stop,
            min_tokens=params.min_tokens,
            include_stop=params.include_stop_str_in_output,
            skip_special_tokens=params.skip_special_tokens,
            prompt_token_ids=prompt_token_ids,
        )

    def take(self, output: RequestOutput) -> AnswerPart:
        """The token that ended the answer belongs to its ids, and to its text only where the
        request wants what ended it."""
        token_ids, logprobs = output.token_ids, output.logprobs
        is_spoken = output.stop_token_id is None or self._includes_stop
        spoken = token_ids if is_spoken else token_ids[:-1]
        text = self._text.push(spoken, final=output.finish_reason is not None)
        if text.stop is None:
            return AnswerPart(
                text.text, token_ids, logprobs, output.finish_reason, output.stop_token_id
            )
        kept = None if logprobs is None else logprobs[: text.num_tokens]
        return AnswerPart(text.text, token_ids[: text.num_tokens], kept, "stop", text.stop)
