"""The parts of a conversation: messages, their parts and tool calls, tools, documents.

Takes what clients send back of answers, ours and other servers': fields of a response that say
nothing to a model are known and left out.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator

from unisono.server.openai.body_model import Body
from unisono.server.openai.known_fields import MESSAGE_FEATURES

MAX_TEXT = 16 * 2**20
MAX_ITEMS = 8 * 2**20
MAX_MESSAGES = 65536
MAX_PARTS = 4096

THOUGHTS = ("thinking", "redacted_thinking", "reasoning")
"""Types of parts that are not shown to users."""

ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})

ShortText = Annotated[str, Field(max_length=1024)]
Text = Annotated[str, Field(max_length=MAX_TEXT)]
FunctionName = Annotated[str, Field(min_length=1, max_length=256)]


def form_of(value: Any) -> str | None:
    """The form that a value has of a field with several. The names are in parentheses: no
    field's name is, so errors can leave them out."""
    if isinstance(value, str):
        return "(text)"
    if isinstance(value, dict):
        return "(object)"
    return "(list)" if isinstance(value, list) else None


class TextPart(Body):
    """A piece of a message. A refusal is what an assistant said, too; ``thinking`` is what it
    thought before."""

    place: ClassVar[str] = "messages[].content[]."
    without_effect: ClassVar[frozenset[str]] = frozenset(
        {
            *("annotations", "logprobs", "citations", "id", "index", "signature"),
            *("cache_control", "provider_specific_fields"),
        }
    )

    type: Literal["text", "input_text", "output_text", "thinking"] = "text"
    text: Text

    @model_validator(mode="before")
    @classmethod
    def _from_other_forms(cls, given: Any) -> Any:
        if isinstance(given, str):
            return {"text": given}
        if isinstance(given, dict) and given.get("type") == "refusal":
            return {"text": given.get("refusal")}
        if isinstance(given, dict) and given.get("type") in THOUGHTS:
            return {"type": "thinking", "text": _thought(given)}
        return given


def _thought(part: dict[str, Any]) -> Any:
    """The text of a part, by the names that it has with the servers of the field. Redacted thoughts
    are of use to the one who wrote them only."""
    if part["type"] == "redacted_thinking":
        return ""
    names = ("thinking", "reasoning", "text", "summary")
    said = next((part[name] for name in names if part.get(name) is not None), None)
    if not isinstance(said, list):
        return said
    pieces = [piece.get("text") if isinstance(piece, dict) else piece for piece in said]
    texts = [text for text in pieces if isinstance(text, str)]
    return "".join(texts) if len(texts) == len(pieces) else said


Content = Annotated[
    Annotated[Text, Tag("(text)")]
    | Annotated[list[TextPart], Field(max_length=MAX_PARTS), Tag("(list)")],
    Discriminator(
        form_of,
        custom_error_type="content_form",
        custom_error_message="Input should be a text or a list of parts",
    ),
]


class FunctionCall(Body):
    """``arguments`` are JSON as text, or what some servers make of it: an object, or the empty list
    that PHP makes of an empty object."""

    place: ClassVar[str] = "messages[].tool_calls[].function."

    name: FunctionName
    arguments: (
        Annotated[
            Annotated[Text, Tag("(text)")] | Annotated[dict[str, Any], Tag("(object)")],
            Discriminator(
                form_of,
                custom_error_type="arguments_form",
                custom_error_message="Input should be JSON as text, or an object",
            ),
        ]
        | None
    ) = None

    @model_validator(mode="before")
    @classmethod
    def _without_empty_arguments(cls, given: Any) -> Any:
        is_empty = isinstance(given, dict) and given.get("arguments") == []
        return {**given, "arguments": {}} if is_empty else given


def _function_if_empty(value: Any) -> Any:
    """The type of a call; one put together from a stream's pieces may have an empty one."""
    return "function" if value == "" else value


CallType = Annotated[Literal["function"], BeforeValidator(_function_if_empty)]


class ToolCall(Body):
    place: ClassVar[str] = "messages[].tool_calls[]."
    without_effect: ClassVar[frozenset[str]] = frozenset(
        {"extra_content", "index", "provider_specific_fields"}
    )

    id: ShortText | None = None
    type: CallType = "function"
    function: FunctionCall


class ChatMessage(Body):
    """One turn. A ``developer`` message is treated as a ``system`` message. Roles that are not in
    ``ROLES`` are for the chat template to know."""

    place: ClassVar[str] = "messages[]."
    without_effect: ClassVar[frozenset[str]] = frozenset(
        {
            *MESSAGE_FEATURES,
            *(
                "annotations",
                "extra_content",
                "id",
                "index",
                "provider_specific_fields",
                "reasoning_details",
                "thinking_blocks",
            ),
            *("weight", "finish_reason", "stop_reason", "logprobs", "cache_control"),
        }
    )

    role: Annotated[str, Field(min_length=1, max_length=64)]
    content: Content | None = None
    name: ShortText | None = None
    tool_call_id: ShortText | None = None
    tool_calls: Annotated[list[ToolCall], Field(max_length=128)] | None = None
    reasoning_content: Text | None = None
    reasoning: Text | None = None
    thinking: Text | None = None
    refusal: Text | None = None


class FunctionSchema(Body):
    """A function; further fields are kept, for they reach the chat template too."""

    model_config = ConfigDict(extra="allow")

    name: FunctionName
    description: Text | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Body):
    model_config = ConfigDict(extra="allow")

    type: Literal["function"] = "function"
    function: FunctionSchema


class Document(Body):
    """A text to answer from, for models whose template takes such texts."""

    model_config = ConfigDict(extra="allow")

    title: ShortText | None = None
    text: Text


class NamedFunction(Body):
    name: FunctionName


class NamedTool(Body):
    """The tool that is to be called."""

    place: ClassVar[str] = "tool_choice."

    type: Literal["function"] = "function"
    function: NamedFunction


ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("(text)")]
    | Annotated[NamedTool, Tag("(object)")],
    Discriminator(
        form_of,
        custom_error_type="tool_choice_form",
        custom_error_message="Input should be 'none', 'auto', 'required' or a function",
    ),
]
Messages = Annotated[
    list[ChatMessage], Field(min_length=1, max_length=MAX_MESSAGES, fail_fast=True)
]
Tools = Annotated[list[Tool], Field(max_length=128)]
Documents = Annotated[list[Document], Field(max_length=128)]
