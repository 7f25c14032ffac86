"""JSON Schemas as they are enforced: exactly, or not at all."""

from __future__ import annotations

from typing import Any

from unisono.core.errors import InvalidRequestError


def exact_schema(schema: Any, param: str) -> dict[str, Any]:
    """The schema for llguidance.

    Raises:
        InvalidRequestError: it is no schema, or a keyword cannot be enforced.
    """
    if isinstance(schema, bool):
        return {} if schema else {"not": {}}
    if not isinstance(schema, dict):
        raise InvalidRequestError(f"{param} is no JSON Schema.", param=param)
    return {name: value for name, value in schema.items() if name != "x-guidance"}
