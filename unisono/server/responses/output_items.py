"""The items of a response, made of an answer's parts as they come, and the events that say so.

Whole responses and streams are written by the same hand: one leaves the events out. An item has one
id from its first event to the stored response. Knows parts and OpenAI's objects; nothing of HTTP.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from unisono.server.responses.input_items import output_id
from unisono.text.parts import Content, Part, Reasoning, ToolCall

Json = dict[str, Any]
_DELTAS = {
    "message": "response.output_text",
    "reasoning": "response.reasoning_text",
    "function_call": "response.function_call_arguments",
}
"""Kind of item -> how the events of its text are called."""


@dataclass
class OutputItems:
    """Args:
    response_id: of the response that they are of.
    shows_logprobs: texts have log-probabilities of their tokens.
    """

    response_id: str
    shows_logprobs: bool = False
    items: list[Json] = field(default_factory=list)
    """Complete ones, and the one that is open."""
    _kind: type[Part] | None = None
    _said: list[str] = field(default_factory=list)
    _logprobs: list[Json] = field(default_factory=list)

    def push(self, part: Part, logprobs: list[Json] | None = None) -> list[Json]:
        """Takes what an answer says next; returns the events."""
        events = []
        if self._kind is not type(part) or (isinstance(part, ToolCall) and part.id):
            events = [*self.close(), *self._open(part)]
        said = part.arguments if isinstance(part, ToolCall) else part.text
        self._said.append(said)
        if not said:
            return events
        kind = self.items[-1]["type"]
        delta = {**self._place(), "delta": said}
        if kind == "message":
            delta["logprobs"] = logprobs or []
            self._logprobs += logprobs or ()
        return [*events, {"type": f"{_DELTAS[kind]}.delta", **delta}]

    def close(self, status: str = "completed") -> list[Json]:
        """Ends the item that is open, if one is; returns the events."""
        if self._kind is None:
            return []
        self._kind = None
        item, place = self.items[-1], self._place()
        text, name = "".join(self._said), _DELTAS[item["type"]]
        done: list[Json]
        if item["type"] == "function_call":
            item["arguments"] = text
            done = [{"type": f"{name}.done", **place, "name": item["name"], "arguments": text}]
        else:
            part = self._part(item["type"], text)
            shown = {"logprobs": self._logprobs} if item["type"] == "message" else {}
            item["content"] = [part]
            done = [
                {"type": f"{name}.done", **place, "text": text, **shown},
                {"type": "response.content_part.done", **place, "part": part},
            ]
        item["status"] = status
        return [*done, self._item_event("done")]

    def _open(self, part: Part) -> list[Json]:
        self._kind, self._said, self._logprobs = type(part), [], []
        kind, fields = _empty(part)
        name = output_id(kind, self.response_id, len(self.items))
        self.items.append({"id": name, "type": kind, "status": "in_progress", **fields})
        events = [self._item_event("added")]
        if not isinstance(part, ToolCall):
            empty = self._part(self.items[-1]["type"], "")
            event = {"type": "response.content_part.added", **self._place(), "part": empty}
            events.append(event)
        return events

    def _item_event(self, what: str) -> Json:
        index, item = len(self.items) - 1, dict(self.items[-1])
        return {"type": f"response.output_item.{what}", "output_index": index, "item": item}

    def _place(self) -> Json:
        item = self.items[-1]
        place = {"item_id": item["id"], "output_index": len(self.items) - 1}
        return place if item["type"] == "function_call" else {**place, "content_index": 0}

    def _part(self, kind: str, text: str) -> Json:
        if kind == "reasoning":
            return {"type": "reasoning_text", "text": text}
        logprobs = list(self._logprobs) if self.shows_logprobs else []
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}


def _empty(part: Part) -> tuple[str, Json]:
    """Kind and fields of an item that is about to say this part."""
    match part:
        case Content():
            return "message", {"role": "assistant", "content": []}
        case Reasoning():
            return "reasoning", {"summary": [], "content": []}
        case ToolCall():
            fields = {"call_id": part.id, "name": part.name, "arguments": ""}
            return "function_call", fields
