"""The shape of chat completions, whole and streamed.

Knows answers and OpenAI's objects; nothing of HTTP or engines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from unisono.core.request import TokenLogprob
from unisono.server.openai.events import Events, to_json
from unisono.server.openai.generation import Usage
from unisono.server.openai.token_views import chat_logprobs, prompt_logprobs
from unisono.text.answer import Answer, AnswerDelta
from unisono.text.tokenizer import Tokenizer

__all__ = ["ChatEvents", "ChatView", "chat_completion"]


@dataclass(frozen=True, kw_only=True)
class ChatView:
    """Options of the rendering.

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


class ChatEvents(Events):
    """Events of a chat. Where each says the usage so far, each has a token or more: the reason
    of an answer's end comes with its last tokens."""

    def __init__(
        self,
        view: ChatView,
        head: dict[str, Any],
        *,
        num_answers: int,
        usage: Usage | None = None,
        counts: bool = False,
    ) -> None:
        super().__init__("chat.completion.chunk", head, usage=usage, counts=counts)
        self._view = view
        self._num_answers = num_answers

    def opening(self) -> bytes:
        delta = '{"role":"assistant","content":""}'
        first = self._chunk(0, delta)
        if self._view.prompt_ids is not None:
            ids = to_json(list(self._view.prompt_ids))
            first = f'{first.removesuffix(self._after)}],"prompt_token_ids":{ids}{self._after[1:]}'
        others = [self._chunk(index, delta) for index in range(1, self._num_answers)]
        return "".join([first, *others]).encode()

    def _of(self, delta: AnswerDelta) -> str:
        reason = "null" if delta.finish_reason is None else f'"{delta.finish_reason}"'
        logprobs = self._view.logprobs(delta.logprobs) if delta.logprobs else None
        has_news = bool(delta.parts or logprobs or (self._view.shows_ids and delta.token_ids))
        text = f'{{"content":{to_json(delta.text)}}}' if has_news else "{}"
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
        ids = f',"token_ids":{to_json(list(token_ids))}' if self._view.shows_ids else ""
        return self._event(
            f'{{"index":{index},"delta":{delta},"logprobs":{logprobs},'
            f'"finish_reason":{finish_reason}{ids}}}'
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
    return to_json(response).encode()


def _choice(view: ChatView, answer: Answer) -> dict[str, Any]:
    choice = {
        "index": answer.index,
        "message": {"role": "assistant", "content": answer.text, "refusal": None},
        "logprobs": view.logprobs(answer.logprobs),
        "finish_reason": answer.finish_reason,
    }
    return {**choice, "token_ids": answer.token_ids} if view.shows_ids else choice
