"""From the JSON value of a body to its checked model; what is wrong is named, never repeated.

Knows schemas; nothing of bytes or HTTP.
"""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from unisono.server.api_error import ApiError, bad_request
from unisono.server.openai.body_model import UNKNOWN_FIELD, Body
from unisono.server.openai.request_schema import OTHER_ROUTES
from unisono.server.openai.unknown_fields import UnknownFields
from unisono.server.openai.unsupported import drop_unsupported

__all__ = ["BodyCheck", "Model", "validate"]

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
"""In JSON's words; the rest is clear in pydantic's."""
Model = TypeVar("Model", bound=Body)


class BodyCheck:
    """Args:
    most_messages: of a chat on this server.
    """

    def __init__(self, unknown_fields: UnknownFields, most_messages: int) -> None:
        self._unknown_fields = unknown_fields
        self._most_messages = most_messages

    def __call__(self, value: dict[str, Any], model: type[Model]) -> Model:
        """Raises ApiError: too many messages, or as ``validate`` says."""
        messages = value.get("messages")
        if isinstance(messages, list) and len(messages) > self._most_messages:
            raise bad_request(
                f"A chat has at most {self._most_messages} messages on this server.",
                param="messages",
            )
        return validate(value, model, self._unknown_fields)


def validate(value: Any, model: type[Model], unknown_fields: UnknownFields | None = None) -> Model:
    """Raises:
    ApiError: names the first field that is wrong, and why; repeats nothing of its content.
    """
    known = drop_unsupported(value, model.names, OTHER_ROUTES.get(model))
    try:
        return model.model_validate(known, context=unknown_fields)
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
