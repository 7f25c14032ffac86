"""From the JSON value of a body to its checked model; what is wrong is named, never repeated.

Fields that ask for something that this server does not do are refused before any schema is asked,
fields that ask for nothing are dropped: ``known_fields.py`` lists both. Knows schemas; nothing of
bytes or HTTP.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from unisono.server.api_error import ApiError, bad_request, not_supported
from unisono.server.openai.body_model import UNKNOWN_FIELD, Body, UnknownFields
from unisono.server.openai.known_fields import FEATURES, MESSAGE_FEATURES, NO_EFFECT, Feature
from unisono.server.openai.message_schema import MAX_MESSAGES, MAX_PARTS, THOUGHTS
from unisono.server.openai.request_schema import ChatRequest, CompletionRequest, RouteBody

_SAYS = {
    "dict_type": "Input should be an object",
    "model_type": "Input should be an object",
    "list_type": "Input should be a list",
    "missing": "This field is required",
    "too_long": "Input should have at most {max_length} items",
    "too_short": "Input should have at least {min_length} items",
    "string_too_long": "Input should have at most {max_length} characters",
    "string_too_short": "Input should have at least {min_length} characters",
}
"""Type of pydantic's error -> message in JSON's words. Other types have messages of their own that
are clear to clients."""
_TEXT_PARTS = frozenset({"text", "input_text", "output_text", "refusal"})
_SPOKEN = _TEXT_PARTS.union(THOUGHTS)
"""Kinds of parts that an assistant's message may have: its thoughts, too."""
_IDLE: tuple[Any, ...] = (None, False, 0, "", [], {})
"""Values that ask for nothing."""
_CHAT, _PLAIN = (frozenset(model.model_fields) for model in (ChatRequest, CompletionRequest))
_OTHER_ROUTES: dict[type[RouteBody], dict[str, str]] = {
    ChatRequest: dict.fromkeys(_PLAIN - _CHAT, "/v1/completions"),
    CompletionRequest: dict.fromkeys(_CHAT - _PLAIN, "/v1/chat/completions"),
}
"""Model of a route -> field that it lacks -> the route where that field does something."""
Model = TypeVar("Model", bound=RouteBody)
AnyBody = TypeVar("AnyBody", bound=Body)


def validate(
    value: dict[str, Any],
    model: type[Model],
    unknown_fields: UnknownFields | None = None,
    *,
    most_messages: int = MAX_MESSAGES,
) -> Model:
    """The body as a model of its route.

    Args:
        unknown_fields: told of fields that no schema has; it may refuse them.
        most_messages: messages that a chat may have on this server.

    Raises:
        ApiError: a field is wrong, or asks for what this server does not do. Names the first one
            and says why; repeats nothing of its content.
    """
    messages = value.get("messages")
    if isinstance(messages, list) and len(messages) > most_messages:
        message = f"A chat has at most {most_messages} messages on this server."
        raise bad_request(message, param="messages")
    return read_body(_drop_unsupported(value, model), model, unknown_fields)


def read_body(
    value: dict[str, Any], model: type[AnyBody], unknown_fields: UnknownFields | None = None
) -> AnyBody:
    """Raises:
    ApiError: names the first field that is wrong.
    """
    try:
        return model.model_validate(value, context=unknown_fields)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=True)
        raise _wrong_field(found[0]) from None


def _wrong_field(error: ErrorDetails) -> ApiError:
    if error["type"] == UNKNOWN_FIELD:
        param = _field_name((*error["loc"], error["ctx"]["name"]))
        message = f"Unknown field {param!r}. Leave it out: this server refuses unknown fields."
        return bad_request(message, param=param, code="unknown_field")
    param = _field_name(error["loc"])
    bounds = error.get("ctx", {})
    says = _SAYS.get(error["type"], error["msg"])
    if error["type"] in _SAYS:
        is_empty = bounds.get("min_length") == 1
        says = "Input should not be empty" if is_empty else says.format(**bounds)
    return bad_request(f"{param or 'The body'}: {says}.", param=param)


def _field_name(location: tuple[int | str, ...]) -> str | None:
    """``("messages", 0, "role")`` -> ``"messages[0].role"``; names of forms are left out."""
    name = ""
    for part in location:
        if isinstance(part, int):
            name += f"[{part}]"
        elif not part.startswith(("(", "[")):
            name += f".{part}" if name else part
    return name[:200] or None


def _drop_unsupported(body: dict[str, Any], model: type[RouteBody]) -> dict[str, Any]:
    """The body without the known fields that change nothing.

    Raises:
        ApiError: a field, or a value of it, that would change the answer and is not supported.
    """
    own, elsewhere = frozenset(model.model_fields), _OTHER_ROUTES.get(model, {})
    _refuse_features(body, FEATURES, own=own)
    for name in body.keys() & elsewhere.keys():
        if body[name] not in _IDLE:
            raise bad_request(
                f"{name!r} is a field of {elsewhere[name]}, not of this route. Leave it out.",
                param=name,
                code="not_supported",
            )
    for index, message in enumerate(_first(body.get("messages"), MAX_MESSAGES)):
        if isinstance(message, dict):
            _refuse_features(message, MESSAGE_FEATURES, place=f"messages[{index}].")
            kinds = _SPOKEN if message.get("role") == "assistant" else _TEXT_PARTS
            _refuse_media(message.get("content"), kinds, f"messages[{index}].content")
    dropped = NO_EFFECT.union(FEATURES, elsewhere) - own
    if body.get("tool_choice") == "none":
        dropped |= {"tools"}
    return {name: value for name, value in body.items() if name not in dropped}


def _refuse_features(
    fields: dict[str, Any],
    features: Mapping[str, Feature],
    *,
    own: frozenset[str] = frozenset(),
    place: str = "",
) -> None:
    for name in sorted((fields.keys() & features.keys()) - own):
        value, feature = fields[name], features[name]
        if value is not None and not feature.is_idle(value, fields):
            raise not_supported(feature.name, place + name, feature.hint)


def _refuse_media(content: Any, kinds: Collection[str], place: str) -> None:
    for index, part in enumerate(_first(content, MAX_PARTS)):
        kind = part.get("type") if isinstance(part, dict) else None
        if isinstance(kind, str) and kind not in kinds:
            raise bad_request(
                "Only text is supported in messages: send content parts of type 'text'.",
                param=f"{place}[{index}]",
                code="not_supported",
            )


def _first(items: Any, at_most: int) -> list[Any]:
    """The items up to the most that there may be: the schema refuses more, so none is looked at."""
    return items[:at_most] if isinstance(items, list) else []
