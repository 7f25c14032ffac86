"""A model's answers, ready to be read: its format, and its marks in its vocabulary."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from unisono.core.constraint import Constraint, ReasoningBudget
from unisono.core.errors import InvalidRequestError
from unisono.core.sampling import SamplingParams
from unisono.text.parsers.answer_format import Schemas
from unisono.text.parsers.answer_parser import AnswerParser
from unisono.text.parsers.finding import find_format
from unisono.text.parsers.forcing import Guard, forced_calls, guarded_calls
from unisono.text.parsers.marks import Marks
from unisono.text.tokenizer import Tokenizer

_PROMPT_TAIL = 32
"""Tokens at the end of a prompt that may open reasoning."""


class AnswerReader:
    """Args:
    format_name: as of :func:`find_format`.

    Raises:
        ConfigError: there is no such format.
    """

    def __init__(self, tokenizer: Tokenizer, format_name: str = "auto") -> None:
        self._tokenizer = tokenizer
        self.format = find_format(tokenizer, format_name)
        self._template = "".join(tokenizer.chat_templates.values())
        self._marks: dict[tuple[str, ...], Marks] = {}

    def parser(
        self,
        prompt_token_ids: Sequence[int],
        *,
        schemas: Schemas | None = None,
        separates_reasoning: bool = True,
        continues: bool = False,
    ) -> AnswerParser:
        """A parser of one answer.

        Args:
            schemas: parameters of the tools that may be called, by name; without any, calls are
                text.
            separates_reasoning: off, reasoning is content.
            continues: the answer goes on with a message of the prompt.
        """
        format = self.format if separates_reasoning else replace(self.format, thinking=None)
        return AnswerParser(
            format,
            self._marks_of(format.names(with_calls=bool(schemas))),
            schemas or {},
            is_thinking=separates_reasoning and self._is_thinking(prompt_token_ids, continues),
        )

    def forced_calls(
        self,
        tools: Sequence[Mapping[str, Any]],
        *,
        names: Collection[str],
        several: bool,
        instead: Constraint | None = None,
    ) -> Constraint:
        """A constraint under which an answer calls some of ``tools``; see :func:`forced_calls`."""
        return forced_calls(
            self.format,
            self._call_marks,
            tools,
            names=names,
            several=several,
            instead=instead,
            has_sign=self._has_sign,
        )

    def guarded_calls(
        self, tools: Sequence[Mapping[str, Any]], *, several: bool = True
    ) -> Guard | None:
        """A constraint under which an answer may call ``tools``; see :func:`guarded_calls`."""
        return guarded_calls(self.format, self._call_marks, tools, several=several)

    def guard_behind(
        self, guard: Guard, prompt_token_ids: Sequence[int], params: SamplingParams
    ) -> Constraint | None:
        """The guard for an answer that may reason before; None where it gives way to parameters
        that do not go with it."""
        if (params.ignore_eos or params.min_tokens) and not guard.is_strict:
            return None
        if not any(spelling.is_bare for spelling in self.format.spellings):
            return guard.constraint  # reasoning is text like any other
        try:
            return self.behind_reasoning(guard.constraint, prompt_token_ids)
        except InvalidRequestError:
            return guard.constraint

    @property
    def takes_budget(self) -> bool:
        """True where reasoning, if there is any, can be given a budget."""
        thinking = self.format.thinking
        tokens = (thinking.opens, thinking.closes) if thinking else ()
        return all(self._tokenizer.token_id(mark) is not None for mark in tokens)

    def budgeted(
        self,
        constraint: Constraint | None,
        prompt_token_ids: Sequence[int],
        num_tokens: int | None,
        *,
        continues: bool = False,
    ) -> Constraint | None:
        """The constraint, and that reasoning has so many tokens at most.

        Raises:
            InvalidRequestError: no tokens say where reasoning begins and ends.
        """
        if num_tokens is None or (thinking := self.format.thinking) is None:
            return constraint
        opens, closes = map(self._tokenizer.token_id, (thinking.opens, thinking.closes))
        is_thinking = self._is_thinking(prompt_token_ids, continues)
        if closes is None or (opens is None and not is_thinking):
            raise InvalidRequestError(
                "This model's reasoning begins or ends with no token of its own, so it cannot be "
                "given a budget.",
                param="thinking_token_budget",
                hint="Send reasoning_effort, where the model's chat template reads it.",
            )
        budget = ReasoningBudget(num_tokens, closes, opens, is_open=is_thinking)
        return replace(constraint or Constraint("anything", "anything"), budget=budget)

    def _has_sign(self, sign: str) -> bool:
        return sign in self._template or self._call_marks.is_token(sign)

    @property
    def _call_marks(self) -> Marks:
        return self._marks_of(self.format.names(with_calls=True))

    def _marks_of(self, names: tuple[str, ...]) -> Marks:
        if names not in self._marks:
            self._marks[names] = Marks(self._tokenizer, names)
        return self._marks[names]

    def behind_reasoning(
        self, constraint: Constraint, prompt_token_ids: Sequence[int], *, continues: bool = False
    ) -> Constraint:
        """The constraint for an answer that may reason before.

        Raises:
            InvalidRequestError: it reasons, and no token says where that ends.
        """
        if (thinking := self.format.thinking) is None:
            return constraint
        opens, closes = map(self._tokenizer.token_id, (thinking.opens, thinking.closes))
        is_thinking = self._is_thinking(prompt_token_ids, continues)
        if is_thinking and closes is None:
            raise InvalidRequestError(
                "This model's reasoning ends with no token of its own, so no constraint can begin "
                "behind it.",
                param=constraint.kind,
                hint="Switch reasoning off.",
            )
        if is_thinking:
            return replace(constraint, after_token_id=closes)
        if opens is None or closes is None:
            return constraint
        return replace(constraint, after_token_id=closes, opening_token_id=opens)

    def _is_thinking(self, prompt_token_ids: Sequence[int], continues: bool) -> bool:
        if (thinking := self.format.thinking) is None:
            return False
        tail = prompt_token_ids if continues else prompt_token_ids[-_PROMPT_TAIL:]
        pieces = (self._tokenizer.token_bytes(token_id) or b"" for token_id in tail)
        text = b"".join(pieces).decode("utf-8", "replace")
        if continues:
            return text.rfind(thinking.opens) > text.rfind(thinking.closes)
        return text.rstrip().endswith(thinking.opens.rstrip())
