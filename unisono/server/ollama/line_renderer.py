"""The shape of Ollama's answers: lines of JSON as they come, or one object.

Knows answers and Ollama's objects; nothing of HTTP or engines.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, ClassVar

from unisono.server.api_error import api_error
from unisono.server.openai.generation import Usage
from unisono.server.openai.streaming import Renderer, to_json
from unisono.server.openai.token_views import chat_logprobs
from unisono.text.answer import Answer, AnswerDelta
from unisono.text.parts import Content, Part, Reasoning, ToolCall
from unisono.text.tokenizer import Tokenizer

Json = dict[str, Any]


@dataclass(kw_only=True)
class LineRenderer(Renderer):
    """Args:
    is_chat: lines have a ``message``, else a ``response``.
    began_ns: when the request came, by ``time.monotonic_ns``.
    """

    model: str
    usage: Usage
    tokenizer: Tokenizer
    is_chat: bool
    began_ns: int
    shows_logprobs: bool = False
    media_type: ClassVar[str] = "application/x-ndjson"
    _said: Json = field(default_factory=dict)
    """All that was said, by field."""
    _logprobs: list[Json] = field(default_factory=list)
    """Log-probabilities that no line has said yet."""
    _all_logprobs: list[Json] = field(default_factory=list)
    _call: ToolCall | None = None
    """The call whose arguments are coming: lines have whole ones."""
    _reason: str | None = None

    def __post_init__(self) -> None:
        self._started_ns = time.monotonic_ns()
        self._first_ns = self._started_ns

    def take(self, delta: AnswerDelta) -> list[Json]:
        """Takes what a step added to the answer; returns the lines that say so."""
        if self._first_ns == self._started_ns:
            self._first_ns = time.monotonic_ns()
        if self.shows_logprobs:
            found = chat_logprobs(self.tokenizer, delta.logprobs or ())["content"]
            self._logprobs += found
            self._all_logprobs += found
        news = [said for part in delta.parts for said in self._of(part)]
        if delta.finish_reason is not None:
            self._reason = delta.finish_reason
            news += self._ended_call()
        return [self._line(said) for said in news]

    def whole(self, answers: list[Answer]) -> Json:
        """The object that says all that was taken; ``answers`` are not asked."""
        self._logprobs = self._all_logprobs
        return {**self._line({"content": "", **self._said}), **self._end()}

    def opening(self) -> bytes:
        return b""

    def events(self, deltas: list[AnswerDelta]) -> bytes:
        return b"".join(_written(line) for delta in deltas for line in self.take(delta))

    def closing(self) -> bytes:
        return _written({**self._line({"content": ""}), **self._end()})

    def failed(self, error: BaseException) -> bytes:
        return _written({"error": api_error(error).message})

    def _of(self, part: Part) -> list[Json]:
        match part:
            case ToolCall(id=""):
                if self._call is not None:
                    self._call.arguments += part.arguments
                return []
            case ToolCall():
                said = self._ended_call()
                self._call = ToolCall(part.index, part.id, part.name, part.arguments)
                return said
            case Reasoning():
                return [*self._ended_call(), self._keep("thinking", part.text)]
            case Content():
                return [*self._ended_call(), self._keep("content", part.text)]

    def _ended_call(self) -> list[Json]:
        """The call, if one is open. One that broke off would be called with what is left of its
        arguments: its text is content."""
        call, self._call = self._call, None
        if call is None:
            return []
        try:
            arguments = json.loads(call.arguments or "{}")
        except (ValueError, RecursionError):
            arguments = None
        if not isinstance(arguments, dict):
            return [self._keep("content", call.arguments)]
        function = {"index": call.index, "name": call.name, "arguments": arguments}
        calls = [{"id": call.id, "function": function}]
        self._said["tool_calls"] = [*self._said.get("tool_calls", ()), *calls]
        return [{"tool_calls": calls}]

    def _keep(self, name: str, text: str) -> Json:
        self._said[name] = self._said.get(name, "") + text
        return {name: text}

    def _line(self, said: Json) -> Json:
        head = {"model": self.model, "created_at": now(), "done": False}
        logprobs, self._logprobs = self._logprobs, []
        shown = {"logprobs": logprobs} if logprobs else {}
        said = {"content": "", **said}
        if self.is_chat:
            return {**head, "message": {"role": "assistant", **said}, **shown}
        said["response"] = said.pop("content")
        return {**head, **said, **shown}

    def _end(self) -> Json:
        end_ns = time.monotonic_ns()
        return {
            "done": True,
            "done_reason": self._reason,
            "total_duration": end_ns - self.began_ns,
            "load_duration": self._started_ns - self.began_ns,
            "prompt_eval_count": self.usage.prompt_tokens,
            "prompt_eval_duration": self._first_ns - self._started_ns,
            "eval_count": self.usage.completion_tokens,
            "eval_duration": end_ns - self._first_ns,
        }


def loaded(model: str, *, is_chat: bool) -> Json:
    """The answer to a request that only wants the model to be loaded: it is."""
    said: Json = {"message": {"role": "assistant", "content": ""}} if is_chat else {"response": ""}
    return {"model": model, "created_at": now(), **said, "done": True, "done_reason": "load"}


def now() -> str:
    return datetime.now(timezone.utc).isoformat().replace("+00:00", "Z")


def _written(line: Json) -> bytes:
    return to_json(line).encode() + b"\n"
