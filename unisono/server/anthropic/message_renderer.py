"""The shape of Anthropic's messages, whole and streamed: an answer's parts as content blocks.

Knows answers and Anthropic's objects; nothing of HTTP or engines.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from unisono.server.api_error import api_error, error_kind
from unisono.server.openai.generation import Usage
from unisono.server.openai.streaming import Renderer, to_json
from unisono.text.answer import Answer, AnswerDelta
from unisono.text.parts import Content, Part, Reasoning, ToolCall

_REASONS = {"length": "max_tokens", "stop": "end_turn", "tool_calls": "tool_use"}


@dataclass(kw_only=True)
class MessageRenderer(Renderer):
    head: dict[str, Any]
    """``id`` and ``model``."""
    usage: Usage
    _kind: type[Part] | None = None
    """Kind of the block that is open in a stream."""
    _index: int = -1
    """Place of that block."""
    _calls: set[int] = field(default_factory=set)

    def whole(self, answers: list[Answer]) -> dict[str, Any]:
        (answer,) = answers
        blocks = [_block(part) for part in answer.parts]
        end = self._end(answer.finish_reason, answer.stop, calls=bool(answer.tool_calls))
        return {**self._message(blocks), **end, "usage": self._usage()}

    def opening(self) -> bytes:
        message = {**self._message([]), "stop_reason": None, "stop_sequence": None}
        return _event("message_start", message={**message, "usage": self._usage()})

    def events(self, deltas: list[AnswerDelta]) -> bytes:
        return b"".join(map(self._of, deltas))

    def closing(self) -> bytes:
        return _event("message_stop")

    def failed(self, error: BaseException) -> bytes:
        return _event("error", error=error_fields(error))

    def _of(self, delta: AnswerDelta) -> bytes:
        events = [self._say(part) for part in delta.parts]
        if delta.finish_reason is not None:
            end = self._end(delta.finish_reason, delta.stop, calls=bool(self._calls))
            events += [
                self._close_block(),
                _event("message_delta", delta=end, usage=self._usage()),
            ]
        return b"".join(events)

    def _say(self, part: Part) -> bytes:
        events = b""
        if self._kind is not type(part) or (isinstance(part, ToolCall) and part.id):
            events = self._close_block() + self._open_block(part)
        said = _delta(part)
        return events + (
            _event("content_block_delta", index=self._index, delta=said) if said else b""
        )

    def _open_block(self, part: Part) -> bytes:
        self._kind = type(part)
        self._index += 1
        empty: Part
        if isinstance(part, ToolCall):
            self._calls.add(part.index)
            empty = ToolCall(part.index, part.id, part.name)
        else:
            empty = type(part)("")
        return _event("content_block_start", index=self._index, content_block=_block(empty))

    def _close_block(self) -> bytes:
        if self._kind is None:
            return b""
        self._kind = None
        return _event("content_block_stop", index=self._index)

    def _message(self, blocks: list[dict[str, Any]]) -> dict[str, Any]:
        return {**self.head, "type": "message", "role": "assistant", "content": blocks}

    def _usage(self) -> dict[str, int]:
        usage = self.usage
        return {
            "input_tokens": usage.prompt_tokens - usage.cached_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": usage.cached_tokens,
            "output_tokens": usage.completion_tokens,
        }

    @staticmethod
    def _end(reason: str | None, stop: str | int | None, *, calls: bool) -> dict[str, Any]:
        is_sequence = isinstance(stop, str)
        said = "stop_sequence" if is_sequence else _REASONS.get(reason or "", reason)
        if calls and said == "end_turn":
            said = "tool_use"
        return {"stop_reason": said, "stop_sequence": stop if is_sequence else None}


def error_fields(error: BaseException) -> dict[str, str]:
    """``error`` of a response that is one."""
    found = api_error(error)
    return {"type": error_kind(found.status), "message": found.message}


def _event(name: str, **fields: Any) -> bytes:
    return f"event: {name}\ndata: {to_json({'type': name, **fields})}\n\n".encode()


def _block(part: Part) -> dict[str, Any]:
    if isinstance(part, Content):
        return {"type": "text", "text": part.text}
    if isinstance(part, Reasoning):
        return {"type": "thinking", "thinking": part.text, "signature": ""}
    return {
        "type": "tool_use",
        "id": part.id,
        "name": part.name,
        "input": _as_object(part.arguments),
    }


def _as_object(arguments: str) -> dict[str, Any]:
    """The object that the arguments say; an empty one where they break off."""
    try:
        value = json.loads(arguments or "{}")
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _delta(part: Part) -> dict[str, Any] | None:
    if isinstance(part, Content):
        return {"type": "text_delta", "text": part.text}
    if isinstance(part, Reasoning):
        return {"type": "thinking_delta", "thinking": part.text}
    if part.arguments:
        return {"type": "input_json_delta", "partial_json": part.arguments}
    return None
