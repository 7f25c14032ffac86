"""JSON Schemas as they are enforced: exactly, or not at all."""

from __future__ import annotations

from typing import Any

from unisono.core.errors import InvalidRequestError
from unisono.text.grammar.schema.ending import with_an_end
from unisono.text.grammar.schema.reading import SchemaReader


def exact_schema(schema: Any, param: str = "schema") -> dict[str, Any]:
    """The schema in keywords that llguidance enforces exactly.

    Raises:
        InvalidRequestError: it is no schema, a keyword cannot be enforced, or no value that ends
            satisfies it; ``param`` is at fault.
    """
    try:
        return _exact_schema(schema)
    except InvalidRequestError as error:
        raise InvalidRequestError(error.message, param=param, hint=error.hint) from error


def _exact_schema(schema: Any) -> dict[str, Any]:
    if isinstance(schema, bool):
        schema = {} if schema else {"enum": []}
    if not isinstance(schema, dict):
        raise InvalidRequestError("The schema is no JSON Schema.", param="schema")
    reader = SchemaReader(schema)
    root, definitions = with_an_end(reader.read(schema), reader.definitions)
    if root is False:
        raise InvalidRequestError("The schema contradicts itself: nothing satisfies it.")
    whole: dict[str, Any] = {} if root is True else dict(root)
    return {**whole, "$defs": definitions} if definitions else whole
