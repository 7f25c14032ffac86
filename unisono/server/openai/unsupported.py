"""Fields that ask for something that this server does not do, and fields that ask for nothing.

Knows bodies as they came, before any schema; the tables are in ``known_fields.py``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from unisono.server.api_error import ApiError, bad_request, not_supported
from unisono.server.openai.known_fields import FEATURES, MESSAGE_FEATURES, NO_EFFECT, Feature
from unisono.server.openai.message_schema import MAX_MESSAGES, MAX_PARTS, THOUGHTS

__all__ = ["drop_unsupported"]

_TEXT_PARTS = frozenset({"text", "input_text", "output_text", "refusal"})
_SPOKEN = _TEXT_PARTS.union(THOUGHTS)
"""An assistant may have thought, too."""
_IDLE: tuple[Any, ...] = (None, False, 0, "", [], {})


def drop_unsupported(
    body: Any, own: Collection[str] = (), elsewhere: Mapping[str, str] | None = None
) -> Any:
    """The body without the known fields that change nothing.

    Args:
        own: the fields of the route, which its schema checks.
        elsewhere: fields of other routes, and which.

    Raises:
        ApiError: a field, or a value of it, that would change the answer and is not supported.
    """
    if not isinstance(body, dict):
        return body
    own = frozenset(own)
    _refuse_features(body, FEATURES, own=own)
    for name in body.keys() & (elsewhere or {}).keys():
        if body[name] not in _IDLE:
            raise _of_another_route(name, (elsewhere or {})[name])
    for index, message in enumerate(_first(body.get("messages"), MAX_MESSAGES)):
        if isinstance(message, dict):
            _refuse_features(message, MESSAGE_FEATURES, place=f"messages[{index}].")
            kinds = _SPOKEN if message.get("role") == "assistant" else _TEXT_PARTS
            _refuse_media(message.get("content"), kinds, f"messages[{index}].content")
    dropped = NO_EFFECT.union(FEATURES, elsewhere or ()) - own
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
    """So many as there may be: the schema refuses more, and this looks at no more."""
    return items[:at_most] if isinstance(items, list) else []


def _of_another_route(name: str, route: str) -> ApiError:
    return bad_request(
        f"{name!r} is a field of {route}, not of this route. Leave it out.",
        param=name,
        code="not_supported",
    )
