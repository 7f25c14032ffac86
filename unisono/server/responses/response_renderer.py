"""The shape of a response, whole and streamed: an answer's parts as items.

Knows answers and OpenAI's objects; nothing of HTTP or engines.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from unisono.server.api_error import api_error
from unisono.server.openai.generation import Usage
from unisono.server.openai.streaming import Renderer, to_json
from unisono.server.openai.token_views import chat_logprobs
from unisono.server.responses.output_items import OutputItems
from unisono.text.answer import Answer, AnswerDelta
from unisono.text.parts import Content
from unisono.text.tokenizer import Tokenizer

Json = dict[str, Any]


@dataclass(kw_only=True)
class ResponseRenderer(Renderer):
    """Args:
    response: of it, what is known before the answer.
    keep: stores a whole response, where that is wished; returns whether it did.
    """

    response: Json
    usage: Usage
    tokenizer: Tokenizer
    shows_logprobs: bool = False
    keep: Callable[[Json], Awaitable[bool]] | None = None
    _reason: str | None = None
    _waiting: list[Json] = field(default_factory=list)
    """Log-probabilities of tokens whose text has not come yet."""
    _number: int = 0

    def __post_init__(self) -> None:
        self._output = OutputItems(self.response["id"], self.shows_logprobs)

    def whole(self, answers: list[Answer]) -> Json:
        return self.response

    def take(self, delta: AnswerDelta) -> list[Json]:
        """Takes what a step added to the answer; returns the events that say so."""
        events: list[Json] = []
        logprobs = self._logprobs(delta)
        for part in delta.parts:
            shown = logprobs if isinstance(part, Content) else []
            events += self._output.push(part, shown)
            logprobs = []
        if delta.finish_reason is not None:
            self._reason = delta.finish_reason
            if not self._output.items:
                events += self._output.push(Content(""))
            is_whole = delta.finish_reason != "length"
            events += self._output.close("completed" if is_whole else "incomplete")
        return events

    async def settle(self) -> None:
        """The response as it ends, stored where that is wished."""
        is_whole = self._reason != "length"
        self.response |= {
            "status": "completed" if is_whole else "incomplete",
            "completed_at": int(time.time()) if is_whole else None,
            "incomplete_details": None if is_whole else {"reason": "max_output_tokens"},
            "output": self._output.items,
            "usage": usage_object(self.usage),
        }
        if self.keep is not None:
            self.response["store"] = await self.keep(self.response)

    def opening(self) -> bytes:
        return self._written(
            {"type": f"response.{name}", "response": self.response}
            for name in ("created", "in_progress")
        )

    def events(self, deltas: list[AnswerDelta]) -> bytes:
        return b"".join([self._written(self.take(delta)) for delta in deltas])

    def closing(self) -> bytes:
        return self._written([self._end(self.response["status"])])

    def failed(self, error: BaseException) -> bytes:
        found = api_error(error)
        code = "rate_limit_exceeded" if found.status == 429 else "server_error"
        self.response |= {
            "status": "failed",
            "error": {"code": code, "message": found.message},
            "output": self._output.items,
        }
        return self._written([*self._output.close("incomplete"), self._end("failed")])

    def _end(self, status: str) -> Json:
        return {"type": f"response.{status}", "response": self.response}

    def _written(self, events: Iterable[Json]) -> bytes:
        text = ""
        for event in events:
            said = to_json({**event, "sequence_number": self._number})
            text += f"event: {event['type']}\ndata: {said}\n\n"
            self._number += 1
        return text.encode()

    def _logprobs(self, delta: AnswerDelta) -> list[Json]:
        """Log-probabilities of the text of these parts, as far as they can be told apart."""
        if not self.shows_logprobs:
            return []
        if delta.num_reasoning_tokens < len(delta.token_ids):
            self._waiting += chat_logprobs(self.tokenizer, delta.logprobs or ())["content"]
        if not delta.parts:
            return []
        found, self._waiting = self._waiting, []
        return found


def usage_object(usage: Usage) -> Json:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
