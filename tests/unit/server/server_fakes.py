"""An engine that needs no model, a host that runs it in this process, and a tokenizer of bytes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.byte_tokenizer import write_byte_tokenizer
from unisono.core import EngineConfig, Request, RequestOutput, TokenLogprob
from unisono.core.errors import ContextLengthError, QueueFullError
from unisono.server.engine.adapters import ServedAdapters
from unisono.server.engine.answers import Answers
from unisono.server.engine.wire import EngineFacts
from unisono.text import Tokenizer

KEY = "key-of-the-test-0001"
CONTEXT = 256
VOCAB = 259
EOS = 258


@dataclass(frozen=True)
class EchoInfo:
    max_model_len: int = CONTEXT
    vocab_size: int = VOCAB
    hidden_size: int = 64
    device: str = "none"
    note: str = ""


@dataclass(frozen=True)
class EchoStats:
    num_running: int
    num_waiting: int = 0
    num_blocks: int = 10
    num_free_blocks: int = 5
    prefix_queried_tokens: int = 4
    prefix_hit_tokens: int = 2


@dataclass
class EchoEngine:
    """Answers with the tokens of the prompt, over and over, one a step."""

    max_queue: int = 1000
    aborted: list[str] = field(default_factory=list)
    info: EchoInfo = field(default_factory=EchoInfo)
    alarms: tuple[socket.socket, ...] = ()
    _running: dict[str, tuple[Request, int]] = field(default_factory=dict)

    @property
    def has_work(self) -> bool:
        return bool(self._running)

    def add(self, request: Request) -> None:
        if len(self._running) >= self.max_queue:
            raise QueueFullError("Full.", retry_after_s=7)
        if len(request.prompt_token_ids) + (request.params.max_tokens or 1) > CONTEXT:
            raise ContextLengthError("Too long.", param="prompt")
        self._running[request.id] = (request, 0)

    def abort(self, request_id: str) -> None:
        self.aborted.append(request_id)
        self._running.pop(request_id, None)

    def step(self) -> list[RequestOutput]:
        return [self._advance(request, at) for request, at in list(self._running.values())]

    def check(self) -> None:
        """Nothing of it fails between two steps."""

    def stats(self) -> EchoStats:
        return EchoStats(num_running=len(self._running))

    def _advance(self, request: Request, at: int) -> RequestOutput:
        params = request.params
        limit = CONTEXT - len(request.prompt_token_ids)
        if params.max_tokens is not None:
            limit = min(limit, params.max_tokens)
        prompt = request.prompt_token_ids
        token_ids = [prompt[at % len(prompt)]] if limit else []
        output = RequestOutput(request.id, token_ids, num_cached_tokens=1)
        if at == 0 and params.prompt_logprobs is not None:
            scored = [_logprob(token, params.prompt_logprobs) for token in prompt[1:]]
            output.prompt_logprobs = [None, *scored]
        if params.logprobs is not None:
            output.logprobs = [_logprob(token, params.logprobs) for token in token_ids]
        self._running[request.id] = (request, at + 1)
        if token_ids == [EOS]:
            output.finish_reason, output.stop_token_id = "stop", EOS
        elif at + 1 >= limit:
            output.finish_reason = "length"
        if output.finish_reason:
            del self._running[request.id]
        return output


def _logprob(token_id: int, num_top: int) -> TokenLogprob:
    top = tuple((candidate, -0.5 - candidate) for candidate in range(num_top))
    return TokenLogprob(token_id, -0.25, 1, top)


@dataclass
class LocalHost:
    """Steps an engine in the event loop of the test; what ``EngineSupervisor`` is in a server."""

    engine: EchoEngine = field(default_factory=EchoEngine)
    state: str = "ready"
    num_restarts: int = 0
    delay_s: float = 0.0
    num_steps: int = 0
    failure: BaseException | None = None
    routes: dict[str, Answers] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)

    facts = EngineFacts(max_model_len=CONTEXT, vocab_size=VOCAB)
    adapters = ServedAdapters({})

    @property
    def stats(self) -> dict[str, float]:
        return dict(vars(self.engine.stats()))

    def num_in_flight_of(self, tenant: str) -> int:
        return sum(one.tenant == tenant for one in self.requests if one.id in self.routes)

    def num_tenants(self, besides: str) -> int:
        in_flight = {one.tenant for one in self.requests if one.id in self.routes}
        return len(in_flight | {besides})

    async def submit(self, requests: Sequence[Request]) -> Answers:
        if self.failure is not None:
            raise self.failure
        answers = Answers([request.id for request in requests], self._release)
        self.requests += requests
        for request in requests:
            self.engine.add(request)
            self.routes[request.id] = answers
        self._pump = asyncio.create_task(self._run())
        return answers

    def _release(self, names: list[str]) -> None:
        for name in names:
            self.engine.abort(name)
            self.routes.pop(name, None)

    async def _run(self) -> None:
        while self.engine.has_work:
            await asyncio.sleep(self.delay_s)
            self.num_steps += 1
            for output in self.engine.step():
                answers = self.routes[output.request_id]
                if output.finish_reason:
                    del self.routes[output.request_id]
                answers.push(output)


def build_echo(folder: Path, config: EngineConfig, vocabulary: object) -> Any:
    return EchoEngine(max_queue=config.max_queue)


CHAT_TEMPLATE = "{% for m in messages %}{{ m.role[0] }}:{{ m.content }}\n{% endfor %}"
CHAT_TEMPLATE += "{% for d in documents or [] %}{{ d.title }}={{ d.text }};{% endfor %}"
CHAT_TEMPLATE += "{{ reasoning_effort }}{{ 'off' if enable_thinking is false }}"


def byte_tokenizer(folder: Path, chat_template: str) -> Tokenizer:
    write_byte_tokenizer(folder, chat_template)
    return Tokenizer.load(folder)
