"""One HTTP request's answers: token outputs become text, log-probabilities and usage.

Knows engine requests and text streams; nothing of HTTP or of the shape of responses.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from unisono.core import errors
from unisono.core.request import Request, RequestOutput
from unisono.core.sampling import SamplingParams
from unisono.server.engine.answers import Answers
from unisono.server.engine.supervisor import EngineSupervisor
from unisono.server.metrics import Metrics
from unisono.text.answer import AnswerDelta, AnswerStream
from unisono.text.parsers.answer_parser import AnswerParser
from unisono.text.tokenizer import Tokenizer

_log = logging.getLogger("unisono.server")


@dataclass(slots=True)
class Usage:
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    accepted_tokens: int = 0
    rejected_tokens: int = 0

    def as_dict(self) -> dict[str, object]:
        """OpenAI's ``usage`` object."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": self.cached_tokens},
            "completion_tokens_details": {
                "reasoning_tokens": self.reasoning_tokens,
                "accepted_prediction_tokens": self.accepted_tokens,
                "rejected_prediction_tokens": self.rejected_tokens,
            },
        }


@dataclass(slots=True)
class _Running:
    stream: AnswerStream
    counts_cached: bool
    """The first answer to a prompt: the prompt is counted once, whatever ``n``."""
    last_token_s: float | None = None
    finished: bool = False


def make_requests(
    name: str,
    prompts: Sequence[Sequence[int]],
    params: SamplingParams,
    *,
    room: int | None = None,
    priority: int = 0,
    tenant: str = "",
    cache_salt: str = "",
    adapter: str = "",
) -> list[Request]:
    """``params.n`` engine requests for each prompt, seeded apart.

    Args:
        room: tokens of prompt and answer, if ``max_tokens`` is to give way to it.
    """
    seeds = params.seeds()
    shared = [tuple(prompt) for prompt in prompts]
    return [
        Request(
            id=f"{name}-{prompt_index * params.n + i}",
            prompt_token_ids=prompt,
            params=_fitting(params, len(prompt), room),
            seed=seed,
            priority=priority,
            tenant=tenant,
            cache_salt=cache_salt,
            adapter=adapter,
        )
        for prompt_index, prompt in enumerate(shared)
        for i, seed in enumerate(seeds)
    ]


def _fitting(params: SamplingParams, num_prompt: int, room: int | None) -> SamplingParams:
    if room is None or params.max_tokens is None or num_prompt >= room:
        return params
    left = room - num_prompt
    return params if params.max_tokens <= left else replace(params, max_tokens=left)


class Generation:
    """Iterating gives, for each step of the engine, what it added to the answers. Whoever iterates
    closes it.

    Args:
        continues_text: the answer goes on in the middle of the prompt's text, so a space at its
            beginning belongs to it.
        make_parser: a parser for the answer to a prompt; without one all is content.
        max_calls: calls of one answer.

    Raises while iterating:
        RequestError, EngineDeadError: the first of the answers that failed; the others are aborted.
    """

    def __init__(
        self,
        engine: EngineSupervisor,
        tokenizer: Tokenizer,
        requests: Sequence[Request],
        metrics: Metrics,
        *,
        continues_text: bool = False,
        make_parser: Callable[[Sequence[int]], AnswerParser] | None = None,
        max_calls: int | None = None,
    ) -> None:
        self._engine = engine
        self._requests = requests
        self._metrics = metrics
        self._started_s = time.monotonic()
        self._answers: Answers | None = None
        self._state = {
            request.id: _Running(
                AnswerStream(
                    tokenizer,
                    request.params,
                    request.prompt_token_ids if continues_text else (),
                    index=index,
                    parser=make_parser(request.prompt_token_ids) if make_parser else None,
                    max_calls=max_calls,
                ),
                counts_cached=index % request.params.n == 0,
            )
            for index, request in enumerate(requests)
        }
        firsts = (request for i, request in enumerate(requests) if i % request.params.n == 0)
        self.usage = Usage(sum(len(request.prompt_token_ids) for request in firsts))

    @property
    def num_answers(self) -> int:
        return len(self._requests)

    def close(self, reason: str = "disconnect") -> None:
        """Frees what the engine still holds; safe to call twice. What has not finished by now is
        an answer whose client left, if no other reason is given."""
        for answer in self._state.values():
            if not answer.finished:
                answer.finished = True
                self._metrics.finished(reason, time.monotonic() - self._started_s)
        if self._answers is not None:
            self._answers.close()

    def __aiter__(self) -> Generation:
        return self

    async def __anext__(self) -> list[AnswerDelta]:
        try:
            return await self._next_deltas()
        except StopAsyncIteration:
            raise
        except Exception:
            self.close("error")
            raise

    async def _next_deltas(self) -> list[AnswerDelta]:
        if self._answers is None:
            self._answers = await self._engine.submit(self._requests)
        while True:
            outputs = await self._answers.__anext__()
            if deltas := [delta for output in outputs if (delta := self._take(output))]:
                return deltas

    def _take(self, output: RequestOutput) -> AnswerDelta | None:
        answer = self._state[output.request_id]
        if answer.finished:
            return None
        if output.finish_reason in ("error", "abort"):
            _log.error("The engine failed on a request: %s", output.error)
            raise errors.RequestFailedError("The engine could not finish this request.")
        delta = answer.stream.take(output)
        if delta.is_cut:
            assert self._answers is not None
            self._answers.abort(output.request_id)
        self._count(answer, delta)
        if delta.finish_reason is not None:
            answer.finished = True
            self._metrics.finished(delta.finish_reason, time.monotonic() - self._started_s)
        return delta

    def _count(self, answer: _Running, delta: AnswerDelta) -> None:
        if answer.counts_cached and delta.num_cached_tokens:
            answer.counts_cached = False
            self.usage.cached_tokens += delta.num_cached_tokens
        if not delta.token_ids:
            return
        num_tokens, now_s = len(delta.token_ids), time.monotonic()
        if answer.last_token_s is None:
            self._metrics.first_token(now_s - self._started_s)
        else:
            self._metrics.next_tokens(now_s - answer.last_token_s, num_tokens)
        answer.last_token_s = now_s
        self.usage.completion_tokens += num_tokens
        self.usage.reasoning_tokens += delta.num_reasoning_tokens
        self.usage.accepted_tokens += delta.num_accepted
        self.usage.rejected_tokens += delta.num_rejected
