"""From a chat's body to the reading of its answers: tools that may be called, and reasoning.

Knows bodies and parsers; nothing of HTTP.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from unisono.core.sampling import SamplingParams
from unisono.server.api_error import bad_request, not_supported
from unisono.server.openai.message_schema import NamedTool
from unisono.server.openai.request_schema import ChatRequest
from unisono.text.parsers.answer_parser import AnswerParser
from unisono.text.parsers.reading import AnswerReader, tool_schemas


@dataclass(frozen=True)
class ChatReading:
    make_parser: Callable[[Sequence[int]], AnswerParser]
    """From the prompt of an answer to its parser."""
    max_calls: int | None
    shows_reasoning: bool
    _reader: AnswerReader
    _continues: bool

    def behind_reasoning(
        self, params: SamplingParams, prompt_token_ids: Sequence[int]
    ) -> SamplingParams:
        """The parameters, with a constraint that begins where reasoning has ended.

        Raises:
            InvalidRequestError: nothing says where that is.
        """
        if (constraint := params.constraint) is None:
            return params
        constraint = self._reader.behind_reasoning(
            constraint, prompt_token_ids, continues=self._continues
        )
        return replace(params, constraint=constraint)


def check_tools(body: ChatRequest) -> None:
    """Raises:
    ApiError, InvalidRequestError: tools of the same name, or a choice that names none of them.
    """
    names = tool_schemas([tool.model_dump(exclude_unset=True) for tool in body.tools or ()])
    choice = body.tool_choice
    if choice in (None, "auto", "none"):
        return
    if not names:
        raise bad_request("tool_choice needs tools.", param="tool_choice")
    if isinstance(choice, NamedTool) and choice.function.name not in names:
        raise bad_request(
            "tool_choice names a function that is none of the tools.", param="tool_choice"
        )
    raise not_supported("Forcing a tool call", "tool_choice", "Send 'auto'.")


def chat_reading(body: ChatRequest, reader: AnswerReader) -> ChatReading:
    tools = [tool.model_dump(exclude_unset=True) for tool in body.tools or ()]
    return ChatReading(
        partial(
            reader.parser,
            schemas=tool_schemas(tools),
            separates_reasoning=_separates_reasoning(body),
            continues=bool(body.continue_final_message),
        ),
        max_calls=1 if body.parallel_tool_calls is False else None,
        shows_reasoning=body.include_reasoning is not False,
        _reader=reader,
        _continues=bool(body.continue_final_message),
    )


def _separates_reasoning(body: ChatRequest) -> bool:
    return body.separate_reasoning is not False and body.reasoning_format != "none"
