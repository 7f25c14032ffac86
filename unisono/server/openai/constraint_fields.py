"""Fields that constrain the answer, as the clients of several servers spell them, and the one
constraint that they come to.

Sources: the schemas of OpenAI, vLLM, SGLang, llama.cpp, TGI and Ollama. Knows bodies; nothing of
engines or grammars.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from unisono.core.constraint import Constraint, ConstraintKind
from unisono.core.errors import InvalidRequestError
from unisono.server.api_error import bad_request
from unisono.server.openai.body_model import Body

Json = dict[str, Any]
_OBJECT = {"type": "object"}


class ConstraintFields(Body):
    """At most one of them asks for something."""

    response_format: Json | None = None
    structured_outputs: Json | None = None
    guided_decoding: Json | None = None
    guided_json: Json | str | None = None
    guided_json_object: bool | None = None
    guided_regex: str | None = None
    guided_choice: list[str] | None = None
    guided_grammar: str | None = None
    structural_tag: Json | str | None = None
    json_schema: Json | str | None = None
    regex: str | None = None
    ebnf: str | None = None
    grammar: str | None = None
    format: Json | str | None = None


class Asked(NamedTuple):
    """A constraint, and the field of the body that asks for it."""

    param: str
    constraint: Constraint


_PLAIN: dict[str, ConstraintKind] = {
    "guided_json": "schema",
    "guided_regex": "regex",
    "guided_choice": "choice",
    "guided_grammar": "grammar",
    "structural_tag": "structural_tag",
    "json_schema": "schema",
    "regex": "regex",
    "ebnf": "grammar",
    "grammar": "grammar",
}
_NESTED: dict[str, ConstraintKind] = {
    "json": "schema",
    "regex": "regex",
    "choice": "choice",
    "grammar": "grammar",
    "structural_tag": "structural_tag",
}
"""Keys of vLLM's objects."""
_OPTIONS = frozenset(
    {"backend", "disable_fallback", "disable_any_whitespace", "whitespace_pattern"}
    | {"disable_additional_properties", "_backend", "_backend_was_auto", "json_object"}
)
"""Other keys of theirs. White space is as short as can be, whatever they say."""


def asked_constraint(body: ConstraintFields) -> Asked | None:
    """Raises:
    ApiError, InvalidRequestError: two constraints, or one that is none.
    """
    found = list(_found(body))
    if len(found) > 1:
        message = f"{found[0][0]} and {found[1][0]} both say what the answer is. Send one of them."
        raise bad_request(message, param=found[1][0])
    for param, kind, value in found:
        try:
            return Asked(param, Constraint.of(kind, value))
        except InvalidRequestError as error:
            raise bad_request(str(error), param=param) from error
    return None


def _found(body: ConstraintFields) -> Iterator[tuple[str, ConstraintKind, Any]]:
    for name, kind in _PLAIN.items():
        if (value := getattr(body, name)) not in (None, "", []):
            yield name, kind, value
    if body.guided_json_object:
        yield "guided_json_object", "schema", _OBJECT
    if body.format:
        yield "format", "schema", _OBJECT if body.format == "json" else body.format
    for name in ("structured_outputs", "guided_decoding"):
        yield from _nested(name, getattr(body, name) or {})
    if body.response_format is not None:
        yield from _response_format(body.response_format)


def _nested(name: str, given: Json) -> Iterator[tuple[str, ConstraintKind, Any]]:
    for key, value in given.items():
        if value in (None, "", False) or key in _OPTIONS - {"json_object"}:
            continue
        if key == "json_object":
            yield f"{name}.{key}", "schema", _OBJECT
        elif key in _NESTED:
            yield f"{name}.{key}", _NESTED[key], value
        else:
            known = ", ".join([*_NESTED, "json_object"])
            raise bad_request(f"{name} takes one of {known}.", param=name)


def _response_format(given: Json) -> Iterator[tuple[str, ConstraintKind, Any]]:
    place = "response_format"
    match given.get("type"):
        case "text":
            return
        case "json_object" | "json" if (name := _first(given, "schema", "value")) is not None:
            yield f"{place}.{name}", "schema", given[name]
        case "json_object":
            yield place, "schema", _OBJECT
        case "json_schema" if isinstance(inner := given.get("json_schema"), Mapping):
            if inner.get("schema") is None:
                raise bad_request("The schema is missing.", param=f"{place}.json_schema.schema")
            yield f"{place}.json_schema.schema", "schema", inner["schema"]
        case "json_schema" if given.get("schema") is not None:
            yield f"{place}.schema", "schema", given["schema"]
        case "json_schema":
            raise bad_request("The schema is missing.", param=f"{place}.json_schema")
        case "regex" if (name := _first(given, "value", "pattern")) is not None:
            yield f"{place}.{name}", "regex", given[name]
        case "grammar" if isinstance(given.get("grammar"), str):
            yield f"{place}.grammar", "grammar", given["grammar"]
        case "structural_tag":
            yield place, "structural_tag", given
        case _:
            raise bad_request(
                "response_format has the type text, json_object, json_schema, regex, grammar or "
                "structural_tag, and what belongs to it.",
                param=f"{place}.type",
            )


def _first(given: Json, *names: str) -> str | None:
    return next((name for name in names if given.get(name) is not None), None)
