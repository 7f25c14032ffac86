"""The shape of chat completions, whole and streamed.

Knows answers and OpenAI's objects; nothing of HTTP or engines. Events are put together from
prepared text around the JSON of what is new: a token costs no object model.
"""

from __future__ import annotations

from json import JSONEncoder
from typing import Any

from unisono.server.generation import AnswerDelta, Usage
from unisono.server.token_views import chat_logprobs, prompt_logprobs
from unisono.text import Tokenizer

__all__ = ["ChatEvents", "chat_completion"]

_to_json = JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


class ChatEvents:
    """Args:
    head: ``id``, ``created`` and ``model`` of the response.
    has_logprobs: whether the client asked for log-probabilities.
    has_usage: whether the client asked for the usage, in an event of its own at the end.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        head: dict[str, Any],
        *,
        num_answers: int,
        has_logprobs: bool,
        has_usage: bool,
    ) -> None:
        fields = _to_json({**head, "object": "chat.completion.chunk", "choices": []})
        self._tokenizer = tokenizer
        self._num_answers = num_answers
        self._has_logprobs = has_logprobs
        self._has_usage = has_usage
        self._before = f"data: {fields.removesuffix(']}')}"
        self._after = '],"usage":null}\n\n' if has_usage else "]}\n\n"

    def opening(self) -> bytes:
        delta = '{"role":"assistant","content":""}'
        return "".join(self._event(index, delta) for index in range(self._num_answers)).encode()

    def events(self, deltas: list[AnswerDelta]) -> bytes:
        return "".join([self._events_of(delta) for delta in deltas]).encode()

    def closing(self, usage: Usage) -> bytes:
        if not self._has_usage:
            return b""
        return f'{self._before}],"usage":{_to_json(usage.as_dict())}}}\n\n'.encode()

    def _events_of(self, delta: AnswerDelta) -> str:
        events = ""
        if delta.text or (self._has_logprobs and delta.logprobs):
            logprobs = "null"
            if self._has_logprobs and delta.logprobs is not None:
                logprobs = _to_json(chat_logprobs(self._tokenizer, delta.logprobs))
            events = self._event(delta.index, f'{{"content":{_to_json(delta.text)}}}', logprobs)
        if delta.finish_reason is not None:
            events += self._event(delta.index, "{}", "null", f'"{delta.finish_reason}"')
        return events

    def _event(
        self, index: int, delta: str, logprobs: str = "null", finish_reason: str = "null"
    ) -> str:
        return (
            f'{self._before}{{"index":{index},"delta":{delta},"logprobs":{logprobs},'
            f'"finish_reason":{finish_reason}}}{self._after}'
        )


def chat_completion(
    tokenizer: Tokenizer,
    head: dict[str, Any],
    answers: list[AnswerDelta],
    usage: Usage,
    *,
    has_logprobs: bool,
) -> bytes:
    """The whole response; ``answers`` are complete, in order."""
    choices = [
        {
            "index": answer.index,
            "message": {"role": "assistant", "content": answer.text, "refusal": None},
            "logprobs": chat_logprobs(tokenizer, answer.logprobs or []) if has_logprobs else None,
            "finish_reason": answer.finish_reason,
        }
        for answer in answers
    ]
    response = {
        **head,
        "object": "chat.completion",
        "choices": choices,
        "usage": usage.as_dict(),
    }
    if answers[0].prompt_logprobs is not None:
        response["prompt_logprobs"] = prompt_logprobs(tokenizer, answers[0].prompt_logprobs)
    return _to_json(response).encode()
