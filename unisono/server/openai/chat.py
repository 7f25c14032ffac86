"""The shape of chat completions, whole and streamed.

Knows answers and OpenAI's objects; nothing of HTTP or engines. Events are put together from
prepared text around the JSON of what is new: a token costs no object model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from json import JSONEncoder
from typing import Any

from unisono.core.request import TokenLogprob
from unisono.server.openai.generation import Usage
from unisono.server.openai.token_views import chat_logprobs, prompt_logprobs
from unisono.text.answer import Answer, AnswerDelta
from unisono.text.tokenizer import Tokenizer

__all__ = ["ChatEvents", "ChatView", "chat_completion", "usage_ending"]

_to_json = JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


@dataclass(frozen=True, kw_only=True)
class ChatView:
    """What of the answers is shown.

    Args:
        prompt_ids: the prompt, where the client asked for the ids of prompt and answers.
        has_logprobs: whether the client asked for log-probabilities.
        names_ids: log-probabilities name tokens by their ids.
    """

    tokenizer: Tokenizer
    prompt_ids: Sequence[int] | None = None
    has_logprobs: bool = False
    names_ids: bool = False

    @property
    def shows_ids(self) -> bool:
        return self.prompt_ids is not None

    def logprobs(self, items: list[TokenLogprob] | None) -> dict[str, Any] | None:
        if not self.has_logprobs:
            return None
        return chat_logprobs(self.tokenizer, items or [], shows_ids=self.names_ids)


def usage_ending(usage: Usage | None, *, counts: bool) -> str:
    """The end of an event, behind its choices: without usage, with none yet, or so far."""
    if usage is None:
        return "]}\n\n"
    return f'],"usage":{_to_json(usage.as_dict()) if counts else "null"}}}\n\n'


class ChatEvents:
    """Args:
    head: ``id``, ``created`` and ``model`` of the response.
    usage: shown in an event of its own at the end; ``None`` where the client did not ask.
    counts: whether every event says the usage so far. Then each event is a token or more, so the
        reason of an answer's end comes with its last tokens.
    """

    def __init__(
        self,
        view: ChatView,
        head: dict[str, Any],
        *,
        num_answers: int,
        usage: Usage | None = None,
        counts: bool = False,
    ) -> None:
        fields = _to_json({**head, "object": "chat.completion.chunk", "choices": []})
        self._view = view
        self._num_answers = num_answers
        self._usage = usage
        self._counts = counts
        self._num_tokens = 0
        self._before = f"data: {fields.removesuffix(']}')}"
        self._after = usage_ending(usage, counts=counts)

    def opening(self) -> bytes:
        delta = '{"role":"assistant","content":""}'
        first = self._event(0, delta)
        if self._view.prompt_ids is not None:
            ids = _to_json(list(self._view.prompt_ids))
            first = f'{first.removesuffix(self._after)}],"prompt_token_ids":{ids}{self._after[1:]}'
        others = [self._event(index, delta) for index in range(1, self._num_answers)]
        return "".join([first, *others]).encode()

    def events(self, deltas: list[AnswerDelta]) -> bytes:
        return "".join([self._events_of(delta) for delta in deltas]).encode()

    def closing(self) -> bytes:
        if self._usage is None:
            return b""
        return f"{self._before}{usage_ending(self._usage, counts=True)}".encode()

    def _count(self, delta: AnswerDelta) -> None:
        """What is there already may be more than this event tells."""
        if self._counts and self._usage is not None:
            self._num_tokens += len(delta.token_ids)
            so_far = replace(self._usage, completion_tokens=self._num_tokens)
            self._after = usage_ending(so_far, counts=True)

    def _events_of(self, delta: AnswerDelta) -> str:
        self._count(delta)
        reason = "null" if delta.finish_reason is None else f'"{delta.finish_reason}"'
        logprobs = self._view.logprobs(delta.logprobs) if delta.logprobs else None
        has_news = bool(delta.parts or logprobs or (self._view.shows_ids and delta.token_ids))
        text = f'{{"content":{_to_json(delta.text)}}}' if has_news else "{}"
        ids = delta.token_ids if has_news else []
        if has_news and (self._counts or delta.finish_reason is None):
            return self._event(delta.index, text, _to_json(logprobs), reason, ids)
        event = self._event(delta.index, text, _to_json(logprobs), "null", ids) if has_news else ""
        if delta.finish_reason is not None:
            event += self._event(delta.index, "{}", "null", reason)
        return event

    def _event(
        self,
        index: int,
        delta: str,
        logprobs: str = "null",
        finish_reason: str = "null",
        token_ids: Sequence[int] = (),
    ) -> str:
        ids = f',"token_ids":{_to_json(list(token_ids))}' if self._view.shows_ids else ""
        return (
            f'{self._before}{{"index":{index},"delta":{delta},"logprobs":{logprobs},'
            f'"finish_reason":{finish_reason}{ids}}}{self._after}'
        )


def chat_completion(
    view: ChatView, head: dict[str, Any], answers: list[Answer], usage: Usage
) -> bytes:
    """The whole response; ``answers`` are complete, in order."""
    response = {
        **head,
        "object": "chat.completion",
        "choices": [_choice(view, answer) for answer in answers],
        "usage": usage.as_dict(),
    }
    if answers[0].prompt_logprobs is not None:
        response["prompt_logprobs"] = prompt_logprobs(view.tokenizer, answers[0].prompt_logprobs)
    if view.prompt_ids is not None:
        response["prompt_token_ids"] = list(view.prompt_ids)
    return _to_json(response).encode()


def _choice(view: ChatView, answer: Answer) -> dict[str, Any]:
    choice = {
        "index": answer.index,
        "message": {"role": "assistant", "content": answer.text, "refusal": None},
        "logprobs": view.logprobs(answer.logprobs),
        "finish_reason": answer.finish_reason,
    }
    return {**choice, "token_ids": answer.token_ids} if view.shows_ids else choice
