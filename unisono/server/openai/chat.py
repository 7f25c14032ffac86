"""The shape of chat completions, whole and streamed.

Knows answers and OpenAI's objects; nothing of HTTP or engines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from unisono.core.request import TokenLogprob
from unisono.server.openai.request_schema import ChatRequest
from unisono.server.openai.streaming import ChunkRenderer, to_json
from unisono.server.openai.token_views import chat_logprobs, prompt_logprobs
from unisono.text.answer import Answer, AnswerDelta
from unisono.text.parts import Content, Part, Reasoning, ToolCall


@dataclass(kw_only=True)
class ChatRenderer(ChunkRenderer):
    """Writes a chat. Where each event says the usage so far, each has a token or more: the reason
    of an answer's end comes with its last tokens."""

    body: ChatRequest
    prompt_ids: Sequence[int]
    num_answers: int
    shows_reasoning: bool = True

    kind = "chat.completion.chunk"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._callers: set[int] = set()

    def whole(self, answers: list[Answer]) -> dict[str, Any]:
        response = {
            **self.head,
            "object": "chat.completion",
            "choices": [self._choice(answer) for answer in answers],
            "usage": self.usage.as_dict(),
        }
        if (scores := answers[0].prompt_logprobs) is not None:
            response["prompt_logprobs"] = prompt_logprobs(self.tokenizer, scores)
        if self.body.return_token_ids:
            response["prompt_token_ids"] = list(self.prompt_ids)
        return response

    def opening(self) -> bytes:
        delta = '{"role":"assistant","content":""}'
        first = self._chunk(0, delta)
        if self.body.return_token_ids:
            ids = to_json(list(self.prompt_ids))
            first = f'{first.removesuffix(self._after)}],"prompt_token_ids":{ids}{self._after[1:]}'
        others = [self._chunk(index, delta) for index in range(1, self.num_answers)]
        return "".join([first, *others]).encode()

    def _of(self, delta: AnswerDelta) -> str:
        parts = self._shown(delta.parts)
        if any(isinstance(part, ToolCall) for part in parts):
            self._callers.add(delta.index)
        reason = to_json(self._reason(delta.finish_reason, calls=delta.index in self._callers))
        logprobs = self._logprobs(delta.logprobs) if delta.logprobs else None
        has_news = bool(parts or logprobs or (self.body.return_token_ids and delta.token_ids))
        text = to_json(_said(parts)) if has_news else "{}"
        ids = delta.token_ids if has_news else []
        if has_news and (self._counts or delta.finish_reason is None):
            return self._chunk(delta.index, text, to_json(logprobs), reason, ids)
        event = self._chunk(delta.index, text, to_json(logprobs), "null", ids) if has_news else ""
        if delta.finish_reason is not None:
            event += self._chunk(delta.index, "{}", "null", reason)
        return event

    def _chunk(
        self,
        index: int,
        delta: str,
        logprobs: str = "null",
        finish_reason: str = "null",
        token_ids: Sequence[int] = (),
    ) -> str:
        ids = f',"token_ids":{to_json(list(token_ids))}' if self.body.return_token_ids else ""
        return self._event(
            f'{{"index":{index},"delta":{delta},"logprobs":{logprobs},'
            f'"finish_reason":{finish_reason}{ids}}}'
        )

    def _choice(self, answer: Answer) -> dict[str, Any]:
        message = {"content": None, **_said(self._shown(answer.parts))}
        calls = message.get("tool_calls")
        if not calls:
            message["content"] = answer.text
        for call in calls or ():
            del call["index"]
        choice = {
            "index": answer.index,
            "message": {"role": "assistant", "refusal": None, **message},
            "logprobs": self._logprobs(answer.logprobs),
            "finish_reason": self._reason(answer.finish_reason, calls=bool(calls)),
        }
        return {**choice, "token_ids": answer.token_ids} if self.body.return_token_ids else choice

    def _shown(self, parts: Sequence[Part]) -> list[Part]:
        return [part for part in parts if self.shows_reasoning or not isinstance(part, Reasoning)]

    @staticmethod
    def _reason(reason: str | None, *, calls: bool) -> str | None:
        """The reason of an answer's end: one that calls tools has not stopped, but waits."""
        return "tool_calls" if calls and reason == "stop" else reason

    def _logprobs(self, items: list[TokenLogprob] | None) -> dict[str, Any] | None:
        if not self.body.logprobs:
            return None
        shows_ids = bool(self.body.return_tokens_as_token_ids)
        return chat_logprobs(self.tokenizer, items or [], shows_ids=shows_ids)


def _said(parts: Sequence[Part]) -> dict[str, Any]:
    """The fields of a message, or of a delta, that say these parts."""
    said: dict[str, Any] = {}
    calls = [_call(part) for part in parts if isinstance(part, ToolCall)]
    texts = [part.text for part in parts if isinstance(part, Content)]
    if texts or not parts:
        said["content"] = "".join(texts)
    if thoughts := [part.text for part in parts if isinstance(part, Reasoning)]:
        said["reasoning_content"] = said["reasoning"] = "".join(thoughts)
    if calls:
        said["tool_calls"] = calls
    return said


def _call(call: ToolCall) -> dict[str, Any]:
    """A call, or what was added to one: then it has neither id nor name."""
    if not call.id:
        return {"index": call.index, "function": {"arguments": call.arguments}}
    function = {"name": call.name, "arguments": call.arguments}
    return {"index": call.index, "id": call.id, "type": "function", "function": function}
