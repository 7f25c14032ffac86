"""One answer: the engine's outputs cut to what the client is to see, and put together again.

Knows outputs and text; nothing of who asked or who computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from unisono.core.request import FinishReason, RequestOutput, TokenLogprob
from unisono.core.sampling import SamplingParams
from unisono.text.stream import TextStream
from unisono.text.tokenizer import Tokenizer


@dataclass(slots=True)
class Content:
    """Text for whoever asked."""

    text: str


Part = Content
"""A part of an answer; each kind of part is a class of its own."""


@dataclass(kw_only=True, slots=True)
class AnswerDelta:
    """The parts that one output added to an answer."""

    index: int = 0
    """The answer's place among those of one call."""
    parts: tuple[Part, ...] = ()
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprob] | None = None
    prompt_logprobs: list[TokenLogprob | None] | None = None
    finish_reason: FinishReason | None = None
    stop: str | int | None = None
    """The stop text or the token id that ended the answer."""
    num_cached_tokens: int = 0

    @property
    def text(self) -> str:
        return "".join([part.text for part in self.parts])

    @property
    def ended_by_text(self) -> bool:
        """The engine does not know of stop texts: it still has the request, to be aborted."""
        return isinstance(self.stop, str)


class Answer:
    """An answer so far; attributes as of :class:`AnswerDelta`."""

    def __init__(self, index: int = 0) -> None:
        self.index = index
        self.token_ids: list[int] = []
        self.logprobs: list[TokenLogprob] | None = None
        self.prompt_logprobs: list[TokenLogprob | None] | None = None
        self.finish_reason: FinishReason | None = None
        self.stop: str | int | None = None
        self.num_cached_tokens = 0
        self._texts: list[str] = []

    @property
    def text(self) -> str:
        return "".join(self._texts)

    @property
    def parts(self) -> tuple[Part, ...]:
        return (Content(self.text),) if self._texts else ()

    def add(self, delta: AnswerDelta) -> None:
        """Takes the answer's deltas in order."""
        self._texts += [part.text for part in delta.parts]
        self.token_ids += delta.token_ids
        if delta.logprobs is not None:
            self.logprobs = self.logprobs or []
            self.logprobs += delta.logprobs
        self.prompt_logprobs = delta.prompt_logprobs or self.prompt_logprobs
        self.finish_reason, self.stop = delta.finish_reason, delta.stop
        self.num_cached_tokens = delta.num_cached_tokens


class AnswerStream:
    """Takes a request's outputs in order.

    Args:
        index: the answer's place among those of one call.
        prompt_token_ids: as in :class:`Detokenizer`.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        params: SamplingParams,
        prompt_token_ids: Sequence[int] = (),
        *,
        index: int = 0,
    ) -> None:
        self._index = index
        self._includes_stop = params.include_stop_str_in_output
        self._text = TextStream(
            tokenizer,
            stop=params.stop,
            min_tokens=params.min_tokens,
            include_stop=params.include_stop_str_in_output,
            skip_special_tokens=params.skip_special_tokens,
            prompt_token_ids=prompt_token_ids,
        )

    def take(self, output: RequestOutput) -> AnswerDelta:
        """The token that ended the answer belongs to its ids, and to its text only where the
        request wants what ended it."""
        token_ids, logprobs = output.token_ids, output.logprobs
        is_spoken = output.stop_token_id is None or self._includes_stop
        spoken = token_ids if is_spoken else token_ids[:-1]
        text = self._text.push(spoken, final=output.finish_reason is not None)
        finish_reason = output.finish_reason
        stop: str | int | None = output.stop_token_id
        if text.stop is not None:
            finish_reason, stop = "stop", text.stop
            token_ids = token_ids[: text.num_tokens]
            logprobs = None if logprobs is None else logprobs[: text.num_tokens]
        return AnswerDelta(
            index=self._index,
            parts=(Content(text.text),) if text.text else (),
            token_ids=token_ids,
            logprobs=logprobs,
            prompt_logprobs=output.prompt_logprobs,
            finish_reason=finish_reason,
            stop=stop,
            num_cached_tokens=output.num_cached_tokens,
        )
