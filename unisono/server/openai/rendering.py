"""From a generation to a response: its answers as events while they come, or whole.

Knows generations and events; nothing of the shape of either response.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator

from unisono.server.api_error import api_error
from unisono.server.failures import log_failure
from unisono.server.http.event_stream import DONE, EventStream, event
from unisono.server.openai.events import Events
from unisono.server.openai.generation import Generation
from unisono.text.answer import Answer, AnswerDelta

__all__ = ["collected", "streamed"]

_log = logging.getLogger("unisono.server.stream")


async def streamed(generation: Generation, renderer: Events) -> EventStream:
    """Waits for the first deltas, so that what fails before them has a status of its own."""
    return EventStream(_writes(generation, await generation.__anext__(), renderer))


async def _writes(
    generation: Generation, first: list[AnswerDelta], renderer: Events
) -> AsyncGenerator[bytes, None]:
    try:
        yield renderer.opening() + renderer.events(first)
        async for deltas in generation:
            if events := renderer.events(deltas):
                yield events
        yield renderer.closing() + DONE
    except Exception as error:
        log_failure(_log, error)
        yield event(api_error(error).body()) + DONE


async def collected(generation: Generation) -> list[Answer]:
    """All answers, complete and in order."""
    answers = [Answer(index) for index in range(generation.num_answers)]
    async for deltas in generation:
        for delta in deltas:
            answers[delta.index].add(delta)
    return answers
