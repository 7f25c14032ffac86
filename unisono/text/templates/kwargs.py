"""Variables that a caller gives to a chat template: any name but those that have a meaning, and
JSON data within bounds. Knows no templates.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from typing import Any

from unisono.core.errors import InvalidRequestError

_MAX_KWARGS = 32
_MAX_NAME = 256
_MAX_BYTES = 1 << 16
_MAX_DEPTH = 16
_RESERVED = frozenset(
    {
        *("messages", "conversation", "tools", "documents", "chat_template"),
        *("add_generation_prompt", "continue_final_message"),
        *("raise_exception", "strftime_now", "range", "dict", "namespace"),
        *("lipsum", "cycler", "joiner", "loop", "self", "super", "caller", "varargs", "kwargs"),
        *("true", "false", "none", "True", "False", "None"),
    }
)


def check_kwargs(kwargs: Mapping[str, Any], taken: Set[str]) -> dict[str, Any]:
    """The variables, once they are found to be in order. ``taken``: names that the model sets.

    Raises:
        InvalidRequestError: a name is reserved, or there is too much or no JSON data.
    """
    if not isinstance(kwargs, Mapping) or len(kwargs) > _MAX_KWARGS:
        raise _bad_kwargs(f"takes at most {_MAX_KWARGS} named values")
    for name, value in kwargs.items():
        if not isinstance(name, str) or not 0 < len(name) <= _MAX_NAME:
            raise _bad_kwargs(f"takes names of up to {_MAX_NAME} characters")
        if name in _RESERVED or name in taken or name.endswith("_token"):
            raise _bad_kwargs(f"cannot set {name}")
        if not _is_json(value, _MAX_DEPTH):
            raise _bad_kwargs(
                f"takes JSON data up to {_MAX_DEPTH} levels deep; {name[:64]!r} is something else"
            )
    if len(json.dumps(kwargs)) > _MAX_BYTES:
        raise _bad_kwargs(f"takes at most {_MAX_BYTES} bytes of JSON")
    return dict(kwargs)


def _is_json(value: Any, depth: int) -> bool:
    if isinstance(value, (list, tuple, dict)):
        inner = value.values() if isinstance(value, dict) else value
        has_names = not isinstance(value, dict) or all(isinstance(key, str) for key in value)
        return depth > 0 and has_names and all(_is_json(item, depth - 1) for item in inner)
    return value is None or isinstance(value, (str, bool, int, float))


def _bad_kwargs(message: str) -> InvalidRequestError:
    return InvalidRequestError(f"template_kwargs {message}.", param="template_kwargs")
