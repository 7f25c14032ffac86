"""The shape of plain completions, whole and streamed, with ``echo`` and legacy log-probabilities.

Knows answers and OpenAI's objects; nothing of HTTP or engines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from unisono.core.request import TokenLogprob
from unisono.server.openai.prompts import Prompt
from unisono.server.openai.request_schema import CompletionRequest
from unisono.server.openai.streaming import ChunkRenderer, to_json
from unisono.server.openai.token_views import LegacyLogprobs, prompt_logprobs
from unisono.text.answer import Answer, AnswerDelta


@dataclass(kw_only=True)
class CompletionRenderer(ChunkRenderer):
    """Writes plain completions.

    Args:
        prompts: each stands for ``num_answers_each`` answers in a row.
    """

    body: CompletionRequest
    prompts: Sequence[Prompt]
    num_answers_each: int
    _logprobs: dict[int, LegacyLogprobs] = field(default_factory=dict)
    """By answer, from the first of it that is shown."""

    kind = "text_completion"

    def whole(self, answers: list[Answer]) -> dict[str, Any]:
        choices = [
            {**self._choice(answer), "finish_reason": answer.finish_reason} for answer in answers
        ]
        usage = self.usage.as_dict()
        return {**self.head, "object": self.kind, "choices": choices, "usage": usage}

    def _of(self, delta: AnswerDelta) -> str:
        if not self._is_news(delta):
            return ""
        choice = to_json(self._choice(delta)).removesuffix("}")
        reason = f'"{delta.finish_reason}"' if delta.finish_reason else "null"
        return self._event(f'{choice},"finish_reason":{reason}}}')

    def _is_news(self, delta: AnswerDelta) -> bool:
        has_ids = bool(self.body.return_token_ids and delta.token_ids)
        has_text = bool(delta.text or delta.logprobs or delta.finish_reason)
        return has_text or has_ids or delta.index not in self._logprobs

    def _choice(self, delta: AnswerDelta | Answer) -> dict[str, Any]:
        """One entry of ``choices``, without its ``finish_reason``; the first of an answer has its
        prompt, where that is due."""
        body, num_top = self.body, self.body.logprobs
        prompt = self.prompts[delta.index // self.num_answers_each]
        is_first = delta.index not in self._logprobs
        if is_first:
            self._logprobs[delta.index] = LegacyLogprobs(
                self.tokenizer, num_top or 0, shows_ids=bool(body.return_tokens_as_token_ids)
            )
        echoes = is_first and bool(body.echo)
        token_ids, items = list(delta.token_ids), list[TokenLogprob | None](delta.logprobs or ())
        if echoes and num_top is not None:
            token_ids = [*prompt.token_ids, *token_ids]
            items = [*(delta.prompt_logprobs or ()), *items]
        view = self._logprobs[delta.index]
        choice: dict[str, Any] = {
            "index": delta.index,
            "text": self._prompt_text(prompt) + delta.text if echoes else delta.text,
            "logprobs": None if num_top is None else view.view(token_ids, items),
        }
        if body.prompt_logprobs is not None and delta.prompt_logprobs is not None:
            choice["prompt_logprobs"] = prompt_logprobs(self.tokenizer, delta.prompt_logprobs)
        if body.return_token_ids:
            choice["token_ids"] = delta.token_ids
            if is_first:
                choice["prompt_token_ids"] = list(prompt.token_ids)
        return choice

    def _prompt_text(self, prompt: Prompt) -> str:
        if prompt.text is not None:
            return prompt.text
        return self.tokenizer.decode(prompt.token_ids, skip_special_tokens=False)
