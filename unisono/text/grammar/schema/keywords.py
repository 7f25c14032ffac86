"""Keywords of JSON Schema: which assert something, and which of these are enforced."""

from __future__ import annotations

from unisono.core.errors import InvalidRequestError

TYPES = ("null", "boolean", "object", "array", "number", "string")
"""An integer is a number."""
PLAIN = frozenset(
    {"type", "enum", "const", "required", "minItems", "maxItems", "minLength", "maxLength"}
    | {"pattern", "format", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}
    | {"multipleOf", "minProperties", "maxProperties", "properties", "patternProperties"}
    | {"additionalProperties", "items", "prefixItems"}
)
COMBINED = frozenset(
    {"anyOf", "oneOf", "allOf", "not", "if", "then", "else", "$ref"}
    | {"dependencies", "dependentRequired", "dependentSchemas", "propertyNames"}
)
REFUSED = frozenset(
    {"contains", "minContains", "maxContains", "unevaluatedItems", "unevaluatedProperties"}
    | {"$dynamicRef", "$recursiveRef", "extends", "disallow", "divisibleBy"}
)


def refuse(keyword: str, why: str = "") -> InvalidRequestError:
    """The error for a keyword that cannot be enforced."""
    return InvalidRequestError(
        f"The schema cannot be enforced exactly: {keyword}{f' ({why})' if why else ''}.",
        param="schema",
        hint="Leave the keyword out, or say the same in another way.",
    )


def malformed(keyword: str) -> InvalidRequestError:
    """The error for a keyword whose value is none of its values."""
    return InvalidRequestError(
        f"The schema is no JSON Schema: {keyword} has a value that it cannot have.", param="schema"
    )
