"""From a chat's body to the reading of its answers: tools that may be called, and reasoning.

Knows bodies and parsers; nothing of HTTP.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from unisono.core.constraint import Constraint
from unisono.core.errors import InvalidRequestError
from unisono.core.sampling import SamplingParams
from unisono.server.api_error import bad_request
from unisono.server.openai.constraint_checks import ConstraintChecks
from unisono.server.openai.constraint_fields import Asked, asked_constraint
from unisono.server.openai.message_schema import NamedTool
from unisono.server.openai.request_schema import ChatRequest
from unisono.text.parsers.answer_parser import AnswerParser
from unisono.text.parsers.called_tools import tool_schemas
from unisono.text.parsers.forcing import Guard
from unisono.text.parsers.reading import AnswerReader


class ChatReading:
    """Raises:
    ApiError, InvalidRequestError: tools of the same name, a choice that names none of them, or
        calls that cannot be forced.
    """

    def __init__(self, body: ChatRequest, reader: AnswerReader) -> None:
        self._reader = reader
        self._tools = [tool.model_dump(exclude_unset=True) for tool in body.tools or ()]
        self._schemas = tool_schemas(self._tools)
        self._separates = body.separate_reasoning is not False and body.reasoning_format != "none"
        self._continues = bool(body.continue_final_message)
        is_one = body.parallel_tool_calls is False or isinstance(body.tool_choice, NamedTool)
        self.max_calls = 1 if is_one else None
        self.shows_reasoning = body.include_reasoning is not False
        self.asked = self._calls_asked(body, asked_constraint(body))
        """The constraint on the answer behind its reasoning."""
        self._guard = self._guarded(body) if self.asked is None else None
        if self._guard is not None:
            self.asked = Asked("tools", self._guard.constraint)

    def make_parser(self, prompt_token_ids: Sequence[int]) -> AnswerParser:
        """A parser for an answer to this prompt."""
        return self._reader.parser(
            prompt_token_ids,
            schemas=self._schemas,
            separates_reasoning=self._separates,
            continues=self._continues,
        )

    def constraint_behind(
        self, prompt_token_ids: Sequence[int], params: SamplingParams
    ) -> Constraint | None:
        """The constraint, from where reasoning has ended.

        Raises:
            InvalidRequestError: nothing says where that is.
        """
        return self._reader.budgeted(
            self._unbudgeted(prompt_token_ids, params),
            prompt_token_ids,
            params.thinking_token_budget,
            continues=self._continues,
        )

    def _unbudgeted(
        self, prompt_token_ids: Sequence[int], params: SamplingParams
    ) -> Constraint | None:
        if self.asked is None:
            return None
        if self._guard is not None:
            return self._reader.guard_behind(self._guard, prompt_token_ids, params)
        return self._reader.behind_reasoning(
            self.asked.constraint, prompt_token_ids, continues=self._continues
        )

    async def check(self, checks: ConstraintChecks) -> None:
        """Raises:
        InvalidRequestError: the constraint cannot be enforced, or takes too much.
        """
        try:
            await checks.check(self.asked)
        except InvalidRequestError:
            if self._guard is None or self._guard.is_strict:
                raise
            self.asked = None

    def _guarded(self, body: ChatRequest) -> Guard | None:
        """Calls that the model makes of itself are held to the tools that there are."""
        if not self._schemas or body.tool_choice == "none" or self._continues:
            return None
        return self._reader.guarded_calls(self._tools, several=self.max_calls is None)

    def _calls_asked(self, body: ChatRequest, asked: Asked | None) -> Asked | None:
        """Calls alone where they are forced; beside another constraint, calls or what it says."""
        choice = body.tool_choice
        if choice in (None, "auto", "none"):
            if asked is None or not self._schemas:
                return asked
            return Asked(asked.param, self._forced(list(self._schemas), instead=asked.constraint))
        if not self._schemas:
            raise bad_request("tool_choice needs tools.", param="tool_choice")
        names = list(self._schemas)
        if isinstance(choice, NamedTool):
            names = [choice.function.name]
            if names[0] not in self._schemas:
                raise bad_request(
                    "tool_choice names a function that is none of the tools.", param="tool_choice"
                )
        return Asked("tools", self._forced(names))

    def _forced(self, names: list[str], instead: Constraint | None = None) -> Constraint:
        fields: dict[str, Any] = {"names": names, "several": self.max_calls is None}
        try:
            return self._reader.forced_calls(self._tools, instead=instead, **fields)
        except InvalidRequestError as error:
            if instead is None:
                raise
            raise bad_request(
                "A constraint on the answer does not go with this model's tools: its calls cannot "
                "be told from the rest.",
                param="tools",
            ) from error
