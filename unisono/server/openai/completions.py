"""The shape of plain completions, whole and streamed, with ``echo`` and legacy log-probabilities.

Knows answers and OpenAI's objects; nothing of HTTP or engines.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from unisono.core.request import TokenLogprob
from unisono.server.openai.events import Events, to_json
from unisono.server.openai.generation import Usage
from unisono.server.openai.prompts import Prompt
from unisono.server.openai.token_views import LegacyLogprobs, prompt_logprobs
from unisono.text.answer import Answer, AnswerDelta
from unisono.text.tokenizer import Tokenizer

__all__ = ["CompletionEvents", "CompletionView", "completion"]


class CompletionView:
    """Options of the rendering: with or without the prompt and log-probabilities.

    Args:
        prompts: each stands for ``num_answers_each`` answers in a row.
        num_top: likeliest tokens in ``logprobs``; ``None`` shows no log-probabilities.
        echo: the prompt comes first, in the text and in the log-probabilities.
        shows_prompt_logprobs: add the list of the prompt's own log-probabilities.
        shows_ids: add the token ids of answer and prompt.
        names_ids: log-probabilities name tokens by their ids.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        prompts: Sequence[Prompt],
        *,
        num_answers_each: int,
        num_top: int | None,
        echo: bool,
        shows_prompt_logprobs: bool,
        shows_ids: bool = False,
        names_ids: bool = False,
    ) -> None:
        self._tokenizer = tokenizer
        self._prompts = prompts
        self._num_answers_each = num_answers_each
        self._num_top = num_top
        self._echo = echo
        self._shows_prompt_logprobs = shows_prompt_logprobs
        self.shows_ids = shows_ids
        self._names_ids = names_ids
        self._logprobs: dict[int, LegacyLogprobs] = {}

    @property
    def num_answers(self) -> int:
        return len(self._prompts) * self._num_answers_each

    def is_first(self, delta: AnswerDelta | Answer) -> bool:
        """True where nothing of this answer has been shown, and so its prompt may be due."""
        return delta.index not in self._logprobs

    def choice(self, delta: AnswerDelta | Answer) -> dict[str, Any]:
        """One entry of ``choices``, without its ``finish_reason``."""
        prompt = self._prompts[delta.index // self._num_answers_each]
        is_first = self.is_first(delta)
        echoes = self._echo and is_first
        if is_first:
            self._logprobs[delta.index] = LegacyLogprobs(
                self._tokenizer, self._num_top or 0, shows_ids=self._names_ids
            )
        view = self._logprobs[delta.index]
        token_ids, items = list(delta.token_ids), list[TokenLogprob | None](delta.logprobs or ())
        if echoes and self._num_top is not None:
            token_ids = [*prompt.token_ids, *token_ids]
            items = [*(delta.prompt_logprobs or ()), *items]
        choice: dict[str, Any] = {
            "index": delta.index,
            "text": self._prompt_text(prompt) + delta.text if echoes else delta.text,
            "logprobs": None if self._num_top is None else view.view(token_ids, items),
        }
        if self._shows_prompt_logprobs and delta.prompt_logprobs is not None:
            found = prompt_logprobs(self._tokenizer, delta.prompt_logprobs)
            choice["prompt_logprobs"] = found
        if self.shows_ids:
            choice["token_ids"] = delta.token_ids
            if is_first:
                choice["prompt_token_ids"] = list(prompt.token_ids)
        return choice

    def _prompt_text(self, prompt: Prompt) -> str:
        if prompt.text is not None:
            return prompt.text
        return self._tokenizer.decode(prompt.token_ids, skip_special_tokens=False)


class CompletionEvents(Events):
    def __init__(
        self,
        view: CompletionView,
        head: dict[str, Any],
        *,
        usage: Usage | None = None,
        counts: bool = False,
    ) -> None:
        super().__init__("text_completion", head, usage=usage, counts=counts)
        self._view = view

    def _is_news(self, delta: AnswerDelta) -> bool:
        has_ids = self._view.shows_ids and bool(delta.token_ids)
        has_text = bool(delta.text or delta.logprobs or delta.finish_reason)
        return has_text or has_ids or self._view.is_first(delta)

    def _of(self, delta: AnswerDelta) -> str:
        if not self._is_news(delta):
            return ""
        choice = to_json(self._view.choice(delta)).removesuffix("}")
        reason = f'"{delta.finish_reason}"' if delta.finish_reason else "null"
        return self._event(f'{choice},"finish_reason":{reason}}}')


def completion(
    view: CompletionView, head: dict[str, Any], answers: list[Answer], usage: Usage
) -> bytes:
    """The whole response; ``answers`` are complete, in order."""
    choices = [{**view.choice(answer), "finish_reason": answer.finish_reason} for answer in answers]
    response = {**head, "object": "text_completion", "choices": choices, "usage": usage.as_dict()}
    return to_json(response).encode()
