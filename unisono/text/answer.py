"""One answer: the engine's outputs cut to what the client is to see, and put together again.

Knows outputs, text and parts; nothing of who asked or who computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from unisono.core.request import FinishReason, RequestOutput, TokenLogprob
from unisono.core.sampling import SamplingParams
from unisono.text.parsers.answer_parser import AnswerParser
from unisono.text.parts import Content, Part, Reasoning, ToolCall, join
from unisono.text.stream import TextStream
from unisono.text.tokenizer import Tokenizer


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
    is_cut: bool = False
    """The answer ended here and not in the engine, which still has the request, to be aborted."""
    num_cached_tokens: int = 0
    num_reasoning_tokens: int = 0
    num_accepted: int = 0
    """Tokens that had been drafted."""
    num_rejected: int = 0
    """Drafted tokens that did not come."""

    @property
    def text(self) -> str:
        """The content alone."""
        return "".join([part.text for part in self.parts if isinstance(part, Content)])


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
        self.num_reasoning_tokens = 0
        self._parts: list[Part] = []

    @property
    def text(self) -> str:
        """The content alone."""
        return "".join([part.text for part in self._parts if isinstance(part, Content)])

    @property
    def reasoning(self) -> str:
        return "".join([part.text for part in self._parts if isinstance(part, Reasoning)])

    @property
    def tool_calls(self) -> list[ToolCall]:
        return [part for part in self.parts if isinstance(part, ToolCall)]

    @property
    def parts(self) -> tuple[Part, ...]:
        self._parts = join(self._parts)
        return tuple(self._parts)

    def add(self, delta: AnswerDelta) -> None:
        """Takes the answer's deltas in order."""
        self._parts += delta.parts
        self.token_ids += delta.token_ids
        if delta.logprobs is not None:
            self.logprobs = self.logprobs or []
            self.logprobs += delta.logprobs
        self.prompt_logprobs = delta.prompt_logprobs or self.prompt_logprobs
        self.finish_reason, self.stop = delta.finish_reason, delta.stop
        self.num_cached_tokens = delta.num_cached_tokens
        self.num_reasoning_tokens += delta.num_reasoning_tokens


@dataclass(slots=True)
class _Read:
    """Parts of an output, and the number of its tokens that belong to the answer."""

    parts: list[Part]
    num_tokens: int
    num_reasoning: int = 0
    stop: str | None = None
    is_cut: bool = False


class AnswerStream:
    """Takes a request's outputs in order.

    Args:
        index: the answer's place among those of one call.
        prompt_token_ids: as in :class:`Detokenizer`.
        parser: finds reasoning and calls; without one all is content.
        max_calls: the answer ends before it makes more calls than that.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        params: SamplingParams,
        prompt_token_ids: Sequence[int] = (),
        *,
        index: int = 0,
        parser: AnswerParser | None = None,
        max_calls: int | None = None,
    ) -> None:
        self._index = index
        self._includes_stop = params.include_stop_str_in_output
        self._parser = parser
        self._max_calls = max_calls
        self._text = TextStream(
            tokenizer,
            stop=params.stop,
            min_tokens=params.min_tokens,
            include_stop=params.include_stop_str_in_output,
            skip_special_tokens=params.skip_special_tokens,
            prompt_token_ids=prompt_token_ids,
            marks=parser.token_marks if parser else None,
        )

    def take(self, output: RequestOutput) -> AnswerDelta:
        """The token that ended the answer belongs to its ids, and to its text only where the
        request wants what ended it."""
        token_ids, logprobs = output.token_ids, output.logprobs
        is_spoken = output.stop_token_id is None or self._includes_stop
        spoken = token_ids if is_spoken else token_ids[:-1]
        is_last = output.finish_reason is not None
        read = (
            self._plain(spoken, is_last) if self._parser is None else self._parsed(spoken, is_last)
        )
        finish_reason = output.finish_reason
        stop: str | int | None = output.stop_token_id
        if read.is_cut:
            finish_reason, stop = "stop", read.stop
            token_ids = token_ids[: read.num_tokens]
            logprobs = None if logprobs is None else logprobs[: read.num_tokens]
        return AnswerDelta(
            index=self._index,
            parts=tuple(read.parts),
            token_ids=token_ids,
            logprobs=logprobs,
            prompt_logprobs=output.prompt_logprobs,
            finish_reason=finish_reason,
            stop=stop,
            is_cut=read.is_cut,
            num_cached_tokens=output.num_cached_tokens,
            num_reasoning_tokens=read.num_reasoning,
            num_accepted=output.num_accepted,
            num_rejected=output.num_rejected,
        )

    def _plain(self, token_ids: Sequence[int], is_last: bool) -> _Read:
        text = self._text.push(token_ids, final=is_last)
        parts: list[Part] = [Content(text.text)] if text.text else []
        return _Read(parts, text.num_tokens, stop=text.stop, is_cut=text.stop is not None)

    def _parsed(self, token_ids: Sequence[int], is_last: bool) -> _Read:
        """One token at a time, so that each is counted where it belongs."""
        read = _Read([], 0)
        for token_id in token_ids:
            self._parse(read, (token_id,), is_last and read.num_tokens + 1 == len(token_ids))
            if read.is_cut:
                break
        if is_last and not token_ids:
            self._parse(read, (), True)
        return read

    def _parse(self, read: _Read, token_ids: Sequence[int], is_last: bool) -> None:
        parser = self._parser
        assert parser is not None
        was_thinking = parser.is_thinking
        text = self._text.push(token_ids, final=is_last)
        read.stop, read.is_cut = text.stop, text.stop is not None
        parts = parser.push(text.text, final=is_last or read.is_cut)
        read.num_tokens += text.num_tokens
        read.num_reasoning += text.num_tokens if was_thinking or parser.is_thinking else 0
        if self._max_calls is not None and parser.num_calls > self._max_calls:
            read.is_cut = True
            parts = [p for p in parts if not isinstance(p, ToolCall) or p.index < self._max_calls]
        read.parts = join([*read.parts, *parts])
