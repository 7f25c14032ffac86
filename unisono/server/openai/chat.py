"""The shape of chat completions, whole and streamed.

Knows answers and OpenAI's objects; nothing of HTTP or engines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from unisono.core.request import TokenLogprob
from unisono.server.openai.request_schema import ChatRequest
from unisono.server.openai.streaming import Renderer, to_json
from unisono.server.openai.token_views import chat_logprobs, prompt_logprobs
from unisono.text.answer import Answer, AnswerDelta


@dataclass(kw_only=True)
class ChatRenderer(Renderer):
    """Writes a chat. Where each event says the usage so far, each has a token or more: the reason
    of an answer's end comes with its last tokens."""

    body: ChatRequest
    prompt_ids: Sequence[int]
    num_answers: int

    kind = "chat.completion.chunk"

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
        reason = "null" if delta.finish_reason is None else f'"{delta.finish_reason}"'
        logprobs = self._logprobs(delta.logprobs) if delta.logprobs else None
        has_news = bool(delta.parts or logprobs or (self.body.return_token_ids and delta.token_ids))
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
        ids = f',"token_ids":{to_json(list(token_ids))}' if self.body.return_token_ids else ""
        return self._event(
            f'{{"index":{index},"delta":{delta},"logprobs":{logprobs},'
            f'"finish_reason":{finish_reason}{ids}}}'
        )

    def _choice(self, answer: Answer) -> dict[str, Any]:
        choice = {
            "index": answer.index,
            "message": {"role": "assistant", "content": answer.text, "refusal": None},
            "logprobs": self._logprobs(answer.logprobs),
            "finish_reason": answer.finish_reason,
        }
        return {**choice, "token_ids": answer.token_ids} if self.body.return_token_ids else choice

    def _logprobs(self, items: list[TokenLogprob] | None) -> dict[str, Any] | None:
        if not self.body.logprobs:
            return None
        shows_ids = bool(self.body.return_tokens_as_token_ids)
        return chat_logprobs(self.tokenizer, items or [], shows_ids=shows_ids)
