"""The shape of plain completions, whole and streamed, with ``echo`` and legacy log-probabilities.

Knows answers and OpenAI's objects; nothing of HTTP or engines.
"""

from __future__ import annotations

from collections.abc import Sequence
from json import JSONEncoder
from typing import Any

from unisono.core import TokenLogprob
from unisono.server.generation import AnswerDelta, Usage
from unisono.server.prompts import Prompt
from unisono.server.token_views import LegacyLogprobs, prompt_logprobs
from unisono.text import Tokenizer

__all__ = ["CompletionEvents", "CompletionView", "completion"]

_to_json = JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


class CompletionView:
    """What of an answer is shown: with or without its prompt and its log-probabilities.

    Args:
        prompts: each stands for ``num_answers_each`` answers in a row.
        num_top: likeliest tokens in ``logprobs``; ``None`` shows no log-probabilities.
        echo: the prompt comes first, in the text and in the log-probabilities.
        shows_prompt_logprobs: add the list of the prompt's own log-probabilities.
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
    ) -> None:
        self._tokenizer = tokenizer
        self._prompts = prompts
        self._num_answers_each = num_answers_each
        self._num_top = num_top
        self._echo = echo
        self._shows_prompt_logprobs = shows_prompt_logprobs
        self._logprobs: dict[int, LegacyLogprobs] = {}

    @property
    def num_answers(self) -> int:
        return len(self._prompts) * self._num_answers_each

    def is_first(self, delta: AnswerDelta) -> bool:
        """Whether nothing of this answer has been shown, and so its prompt may be due."""
        return delta.index not in self._logprobs

    def choice(self, delta: AnswerDelta) -> dict[str, Any]:
        """One entry of ``choices``, without its ``finish_reason``."""
        prompt = self._prompts[delta.index // self._num_answers_each]
        echoes = self._echo and self.is_first(delta)
        if delta.index not in self._logprobs:
            self._logprobs[delta.index] = LegacyLogprobs(self._tokenizer, self._num_top or 0)
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
        return choice

    def _prompt_text(self, prompt: Prompt) -> str:
        if prompt.text is not None:
            return prompt.text
        return self._tokenizer.decode(prompt.token_ids, skip_special_tokens=False)


class CompletionEvents:
    """``head`` is ``id``, ``created`` and ``model`` of the response."""

    def __init__(self, view: CompletionView, head: dict[str, Any], *, has_usage: bool) -> None:
        fields = _to_json({**head, "object": "text_completion", "choices": []})
        self._view = view
        self._has_usage = has_usage
        self._before = f"data: {fields.removesuffix(']}')}"
        self._after = '],"usage":null}\n\n' if has_usage else "]}\n\n"

    def opening(self) -> bytes:
        return b""

    def events(self, deltas: list[AnswerDelta]) -> bytes:
        return "".join([self._event(delta) for delta in deltas if self._is_news(delta)]).encode()

    def closing(self, usage: Usage) -> bytes:
        if not self._has_usage:
            return b""
        return f'{self._before}],"usage":{_to_json(usage.as_dict())}}}\n\n'.encode()

    def _is_news(self, delta: AnswerDelta) -> bool:
        return bool(
            delta.text or delta.logprobs or delta.finish_reason or self._view.is_first(delta)
        )

    def _event(self, delta: AnswerDelta) -> str:
        choice = _to_json(self._view.choice(delta)).removesuffix("}")
        reason = f'"{delta.finish_reason}"' if delta.finish_reason else "null"
        return f'{self._before}{choice},"finish_reason":{reason}}}{self._after}'


def completion(
    view: CompletionView, head: dict[str, Any], answers: list[AnswerDelta], usage: Usage
) -> bytes:
    """The whole response; ``answers`` are complete, in order."""
    choices = [{**view.choice(answer), "finish_reason": answer.finish_reason} for answer in answers]
    response = {**head, "object": "text_completion", "choices": choices, "usage": usage.as_dict()}
    return _to_json(response).encode()
