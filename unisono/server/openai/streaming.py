"""From a generation to a response: its answers as server-sent events while they come, or whole.

Events are put together from prepared text around the JSON of what is new: a token costs no object
model. Knows generations and ASGI; the shape of each response is its renderer's.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from json import JSONEncoder
from typing import Any, ClassVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from unisono.server.api_error import api_error, log_failure
from unisono.server.openai.generation import Generation, Usage
from unisono.server.openai.request_schema import SamplingFields
from unisono.text.answer import Answer, AnswerDelta
from unisono.text.tokenizer import Tokenizer

_DONE = b"data: [DONE]\n\n"
_HEADERS = [(b"cache-control", b"no-store"), (b"x-accel-buffering", b"no")]
_log = logging.getLogger("unisono.server.stream")
to_json = JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


class Renderer(ABC):
    """Writes one response, whole or as events; everything of a step goes out in one write."""

    media_type: ClassVar[str] = "text/event-stream; charset=utf-8"
    """Type of a response of events."""

    @abstractmethod
    def whole(self, answers: list[Answer]) -> dict[str, Any]:
        """The whole response; ``answers`` are complete, in order."""

    @abstractmethod
    def opening(self) -> bytes:
        """Events before the first delta."""

    @abstractmethod
    def events(self, deltas: list[AnswerDelta]) -> bytes:
        """Events of what a step added."""

    async def settle(self) -> None:  # noqa: B027
        """Awaited behind the last delta, before the closing events: most renderers are ready."""

    @abstractmethod
    def closing(self) -> bytes:
        """Events behind the last delta."""

    @abstractmethod
    def failed(self, error: BaseException) -> bytes:
        """Events behind which nothing comes any more."""


@dataclass(kw_only=True)
class ChunkRenderer(Renderer):
    """Writes OpenAI's chunks.

    Args:
        body: says what is shown beside the text; of a stream also, whether usage is shown in an
            event of its own at the end, and up to each event in all of them.
        head: ``id``, ``created`` and ``model`` of the response.
    """

    tokenizer: Tokenizer
    body: SamplingFields
    head: dict[str, Any]
    usage: Usage

    kind: ClassVar[str]
    """``object`` of each event."""

    def __post_init__(self) -> None:
        options = self.body.stream_options
        self._shows_usage = options is not None and bool(options.include_usage)
        self._counts = self._shows_usage and bool(options and options.continuous_usage_stats)
        self._num_tokens = 0
        fields = to_json({**self.head, "object": self.kind, "choices": []})
        self._before = f"data: {fields.removesuffix(']}')}"
        self._after = self._ending(self.usage if self._counts else None)

    def opening(self) -> bytes:
        return b""

    def events(self, deltas: list[AnswerDelta]) -> bytes:
        return "".join(map(self._counted, deltas)).encode()

    def closing(self) -> bytes:
        usage = self._event("", self._ending(self.usage)).encode() if self._shows_usage else b""
        return usage + _DONE

    def failed(self, error: BaseException) -> bytes:
        return b"data: " + api_error(error).body() + b"\n\n" + _DONE

    @abstractmethod
    def _of(self, delta: AnswerDelta) -> str:
        """The events of one delta."""

    def _event(self, choice: str, ending: str | None = None) -> str:
        return f"{self._before}{choice}{self._after if ending is None else ending}"

    def _counted(self, delta: AnswerDelta) -> str:
        """The events of one delta, with the usage up to it where each event has one."""
        if self._counts:
            self._num_tokens += len(delta.token_ids)
            self._after = self._ending(replace(self.usage, completion_tokens=self._num_tokens))
        return self._of(delta)

    def _ending(self, shown: Usage | None) -> str:
        """The end of an event, behind its choices; without usage where the client did not ask."""
        if not self._shows_usage:
            return "]}\n\n"
        return f'],"usage":{to_json(shown.as_dict() if shown else None)}}}\n\n'


async def respond(generation: Generation, renderer: Renderer, *, streams: bool) -> Response:
    """The response; where it ``streams`` it begins with the first deltas, so that what fails
    before them has a status of its own."""
    if streams:
        writes = _writes(generation, await generation.__anext__(), renderer)
        return _EventStream(writes, renderer.media_type)
    answers = [Answer(index) for index in range(generation.num_answers)]
    async for deltas in generation:
        for delta in deltas:
            answers[delta.index].add(delta)
    return Response(to_json(renderer.whole(answers)), media_type="application/json")


async def fold(generation: Generation, take: Callable[[AnswerDelta], object]) -> None:
    """Hands over all deltas as they come."""
    async for deltas in generation:
        for delta in deltas:
            take(delta)


async def _writes(
    generation: Generation, first: list[AnswerDelta], renderer: Renderer
) -> AsyncGenerator[bytes, None]:
    try:
        yield renderer.opening() + renderer.events(first)
        async for deltas in generation:
            if events := renderer.events(deltas):
                yield events
        await renderer.settle()
        yield renderer.closing()
    except Exception as error:
        log_failure(_log, error)
        yield renderer.failed(error)


class _EventStream(Response):
    """``writes``: events, as many at once as go out in one write. Whether the client is still there
    is its :class:`Visit`'s to know."""

    def __init__(self, writes: AsyncGenerator[bytes, None], media_type: str) -> None:
        self.status_code = 200
        self._stream_headers = [(b"content-type", media_type.encode()), *_HEADERS]
        self.background = None
        self._writes = writes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self._stream_headers})
        async with aclosing(self._writes) as writes:
            async for body in writes:
                await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
