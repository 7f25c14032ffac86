"""JSON Schemas as they are enforced: against a validator, and by what is refused."""

from __future__ import annotations

import json
import random
from typing import Any

import jsonschema_rs
import numpy as np
import pytest

from tests import byte_grammar
from tests.byte_grammar import END
from unisono.core.constraint import Constraint
from unisono.core.errors import InvalidRequestError
from unisono.text.grammar.compiler import GrammarCompiler
from unisono.text.grammar.matcher import Matcher

TREE = {
    "$ref": "#/$defs/tree",
    "$defs": {
        "tree": {
            "type": "object",
            "properties": {
                "name": {"type": "string", "maxLength": 3},
                "children": {"type": "array", "items": {"$ref": "#/$defs/tree"}, "maxItems": 2},
            },
            "required": ["name", "children"],
            "additionalProperties": False,
        }
    },
}
SCHEMAS: dict[str, Any] = {
    "object": {
        "type": "object",
        "properties": {
            "a": {"type": "integer", "minimum": -5, "maximum": 12},
            "b": {"type": "null"},
        },
        "required": ["a"],
        "additionalProperties": False,
    },
    "closed enum": {"enum": ["a", 1, None, True, {"x": [1, 2]}]},
    "const": {"const": {"k": "v"}},
    "types": {"type": ["boolean", "null", "integer"], "minimum": 3, "maximum": 44},
    "string": {"type": "string", "minLength": 2, "maxLength": 4},
    "pattern": {"type": "string", "pattern": r"^[\w.-]+@\d{2,3}$", "maxLength": 12},
    "date": {"type": "string", "format": "date"},
    "date-time": {"type": "string", "format": "date-time"},
    "uuid": {"type": "string", "format": "uuid"},
    "ipv4": {"type": "string", "format": "ipv4"},
    "array": {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 3},
    "tuple": {
        "type": "array",
        "prefixItems": [{"type": "null"}, {"const": "x"}],
        "items": False,
        "minItems": 2,
    },
    "multiples": {"type": "integer", "multipleOf": 7, "minimum": -50, "maximum": 50},
    "exclusive": {"type": "number", "exclusiveMinimum": 0, "maximum": 2},
    "old exclusive": {
        "$schema": "http://json-schema.org/draft-04/schema#",
        "type": "integer",
        "minimum": 0,
        "exclusiveMinimum": True,
        "maximum": 9,
    },
    "any of": {"anyOf": [{"type": "string", "maxLength": 2}, {"type": "integer", "minimum": 0}]},
    "one of, apart": {"oneOf": [{"type": "string", "maxLength": 1}, {"type": "null"}]},
    "one of, by a tag": {
        "oneOf": [
            {
                "type": "object",
                "properties": {"kind": {"const": kind}, "n": {"type": "boolean"}},
                "required": ["kind"],
                "additionalProperties": False,
            }
            for kind in ("a", "b")
        ]
    },
    "one of, overlapping": {
        "type": "object",
        "properties": {"a": {"type": "null"}, "b": {"type": "null"}},
        "additionalProperties": False,
        "oneOf": [{"required": ["a"]}, {"required": ["b"]}],
    },
    "all of": {"allOf": [{"type": "integer", "minimum": 2}, {"maximum": 30}]},
    "not": {
        "type": ["integer", "string"],
        "maximum": 99,
        "maxLength": 2,
        "not": {"type": "string"},
    },
    "not some": {"type": "string", "maxLength": 3, "not": {"enum": ["ab", "abc", "b"]}},
    "not required": {
        "type": "object",
        "properties": {"a": {"type": "null"}, "b": {"type": "null"}},
        "additionalProperties": False,
        "not": {"required": ["a", "b"]},
    },
    "if": {
        "type": "object",
        "properties": {"a": {"type": "boolean"}, "b": {"type": "null"}},
        "required": ["a"],
        "additionalProperties": False,
        "if": {"properties": {"a": {"const": True}}},
        "then": {"required": ["b"]},
        "else": {"properties": {"b": False}},
    },
    "dependencies": {
        "type": "object",
        "properties": {name: {"type": "null"} for name in "abc"},
        "additionalProperties": False,
        "dependencies": {"a": ["b"], "b": {"required": ["c"]}},
    },
    "at least one": {
        "type": "object",
        "properties": {"a": {"type": "null"}, "b": {"type": "null"}},
        "additionalProperties": False,
        "minProperties": 1,
    },
    "pattern properties": {
        "type": "object",
        "patternProperties": {"^x-": {"type": "null"}},
        "additionalProperties": {"type": "boolean"},
        "maxProperties": 2,
    },
    "tree": TREE,
}


def matcher(compiler: GrammarCompiler, schema: Any) -> Matcher:
    return compiler.matcher(Constraint.of("schema", schema))


def takes(compiler: GrammarCompiler, schema: Any, text: str) -> bool:
    return byte_grammar.takes(compiler, Constraint.of("schema", schema), text)


def allowed(found: Matcher, room: int | None = None) -> list[int]:
    words = np.zeros(-(-(END + 1) // 32), np.uint32)
    found.fill(words.ctypes.data, room)
    return [i for i in range(END + 1) if words[i // 32] >> i % 32 & 1]


def answer(found: Matcher, choice: random.Random) -> str:
    """A random one; quotes and brackets come more often, so that it ends soon."""
    ids: list[int] = []
    while True:
        assert len(ids) < 3000
        may_come = allowed(found)
        closing = [i for i in may_come if i in (END, *b'"}]')]
        token_id = choice.choice(closing if closing and choice.random() < 0.3 else may_come)
        if token_id == END:
            return bytes(ids).decode()
        found.advance([token_id])
        ids.append(token_id)


@pytest.mark.parametrize("name", SCHEMAS)
def test_answers_are_valid(compiler: GrammarCompiler, name: str) -> None:
    validator = jsonschema_rs.validator_for(SCHEMAS[name], validate_formats=True)
    for seed in range(25):
        text = answer(matcher(compiler, SCHEMAS[name]), random.Random(seed))
        assert validator.is_valid(json.loads(text)), text


VALUES: list[Any] = [
    None, True, False, 0, 1, 3, 7, -7, 13, 44, 100, 0.5, 2, "", "a", "b", "ab", "abc", "abcd",
    "é😀", "x.y@12", "x@1", "2024-02-29", "2023-02-29", "2023-01-31T10:00:00Z", "1.2.3.4",
    "1.2.3.256", [], [True, False, True, True], [None, "x"], [None], {}, {"a": 3}, {"a": 13},
    {"a": 3, "b": None}, {"a": None}, {"b": None}, {"a": None, "b": None}, {"a": None, "c": None},
    {"a": None, "b": None, "c": None}, {"b": None, "c": None}, {"c": None}, {"x": [1, 2]},
    {"k": "v"}, {"kind": "a"}, {"kind": "b", "n": True}, {"kind": "c"}, {"a": True}, {"a": False},
    {"a": True, "b": None}, {"a": False, "b": None}, {"x-a": None}, {"x-a": True}, {"y": True},
    {"name": "n", "children": []}, {"name": "n", "children": [{"name": "m", "children": []}]},
]  # fmt: skip


@pytest.mark.parametrize("name", SCHEMAS)
def test_it_takes_what_a_validator_takes(compiler: GrammarCompiler, name: str) -> None:
    validator = jsonschema_rs.validator_for(SCHEMAS[name], validate_formats=True)
    for value in VALUES:
        text = json.dumps(value, ensure_ascii=False)
        is_valid = validator.is_valid(value)
        assert takes(compiler, SCHEMAS[name], text) == is_valid, text


@pytest.mark.parametrize(
    ("schema", "keyword"),
    [
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"contains": {"type": "string"}}, "contains"),
        ({"oneOf": [{"type": "number"}, {"type": "number", "multipleOf": 2}]}, "oneOf"),
        ({"not": {"pattern": "a"}}, "not"),
        ({"unevaluatedProperties": False}, "unevaluatedProperties"),
        ({"$ref": "https://example.org/schema"}, "$ref"),
        ({"$ref": "#/nothing"}, "$ref"),
        ({"$dynamicRef": "#a"}, "$dynamicRef"),
        ({"pattern": "(?=a)"}, "pattern"),
        ({"pattern": r"\bword"}, "pattern"),
        ({"pattern": r"(a)\1"}, "pattern"),
        ({"pattern": "^(a{1,500}b){1,500}$"}, "pattern"),
        ({"format": "iri"}, "format"),
        ({"maximum": 1e300}, "maximum"),
        ({"const": 12345678901234567890}, "const"),
        ({"minProperties": 2}, "minProperties"),
        ({"propertyNames": {"maxLength": 3}}, "propertyNames"),
        ({"type": "strnig"}, "type"),
        ({"properties": {"a": {"minLength": "3"}}}, "minLength"),
        ({"anyOf": []}, "anyOf"),
        ({"required": "a"}, "required"),
    ],
)
def test_what_cannot_be_enforced_is_named(
    compiler: GrammarCompiler, schema: Any, keyword: str
) -> None:
    with pytest.raises(InvalidRequestError, match=rf": {keyword.replace('$', '[$]')}\b") as caught:
        matcher(compiler, schema)
    assert caught.value.param == "schema"


@pytest.mark.parametrize(
    "schema",
    [
        False,
        {"not": {}},
        {"enum": []},
        {"$ref": "#"},
        {"anyOf": [{"$ref": "#"}]},
        {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
        {"type": "array", "items": {"$ref": "#"}, "minItems": 1},
        {"type": "string", "minLength": 3, "maxLength": 2},
        {"type": "integer", "minimum": 3, "maximum": 2},
        {"allOf": [{"type": "string"}, {"type": "null"}]},
        {"type": "string", "pattern": "^a$", "minLength": 2},
    ],
)
def test_what_contradicts_itself_is_refused(compiler: GrammarCompiler, schema: Any) -> None:
    with pytest.raises(InvalidRequestError, match="contradicts itself"):
        matcher(compiler, schema)


def test_an_endless_branch_is_left_out(compiler: GrammarCompiler) -> None:
    endless = {"type": "object", "properties": {"a": {"$ref": "#/$defs/e"}}, "required": ["a"]}
    schema = {"anyOf": [{"const": "x"}, {"$ref": "#/$defs/e"}], "$defs": {"e": endless}}
    assert bytes(allowed(matcher(compiler, schema))) == b'"'


def test_annotations_and_options_of_others_change_nothing(compiler: GrammarCompiler) -> None:
    schema = {"x-guidance": {"lenient": True, "whitespace_flexible": True}, "type": "object"}
    assert not takes(compiler, schema, "{ }")
    with pytest.raises(InvalidRequestError, match="contains"):
        matcher(compiler, {**schema, "contains": {}})
    assert takes(compiler, {"type": "string", "format": "color", "title": 5}, '"any"')


def test_white_space_is_one_space_at_most(compiler: GrammarCompiler) -> None:
    schema = {"type": "object", "properties": {"a": True, "b": True}}
    assert takes(compiler, schema, '{"a": [1, 2],"b":{}}')
    for text in ('{"a":  1}', '{ "a":1}', '{"a":1 }', '{"a":\n1}', ' {"a":1}', '{"a":1} '):
        assert not takes(compiler, schema, text)


def test_a_key_has_one_spelling(compiler: GrammarCompiler) -> None:
    schema = {"properties": {"abc": {"type": "integer"}}, "additionalProperties": {"type": "null"}}
    assert takes(compiler, schema, '{"abc":1}')
    assert takes(compiler, schema, '{"abd":null}')
    assert not takes(compiler, schema, r'{"\u0061bc":null}')


@pytest.mark.parametrize("schema", [{"type": "number"}, {"type": "integer"}, {}])
def test_digits_end(compiler: GrammarCompiler, schema: Any) -> None:
    found, ids = matcher(compiler, schema), list(b"7")
    found.advance(ids)
    while END not in (may_come := allowed(found)) or ord("9") in may_come:
        assert len(ids) < 100
        ids.append(ord("9"))
        found.advance(ids[-1:])
    assert len(ids) == 20


def test_an_exponent_ends(compiler: GrammarCompiler) -> None:
    found = matcher(compiler, {"type": "number"})
    found.advance(list(b"1e99"))
    assert allowed(found) == [END]


ENDLESS: dict[str, Any] = {
    "anything": {},
    "object": {"type": "object"},
    "list": {"type": "array", "items": {"type": "array", "items": {}}},
    "text": {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
    "tree": {
        "$ref": "#/$defs/t",
        "$defs": {
            "t": {
                "type": "object",
                "properties": {"n": {"type": "integer"}, "l": {"items": {"$ref": "#/$defs/t"}}},
                "required": ["n", "l"],
            }
        },
    },
}


def test_a_text_by_a_pattern_ends_while_there_is_room(compiler: GrammarCompiler) -> None:
    """Letters that a pattern repeats do not keep those away that lead on."""
    schema = {"type": "string", "pattern": "^p:[a-f0-9-]+:[0-9]+-[0-9]+$"}
    found, ids = matcher(compiler, schema), list[int]()
    while END not in ids:
        may_come = allowed(found, 160 - len(ids))
        liked = [i for i in b'"-0p:' if i in may_come] or may_come
        ids.append(liked[0])
        if ids[-1] != END:
            found.advance(ids[-1:])
    assert jsonschema_rs.validator_for(schema).is_valid(json.loads(bytes(ids[:-1])))
    assert 60 < len(ids) <= 160


@pytest.mark.parametrize("name", ENDLESS)
def test_an_answer_ends_while_there_is_room(compiler: GrammarCompiler, name: str) -> None:
    """It opens what it can and writes letters for ever, if it may."""
    validator = jsonschema_rs.validator_for(ENDLESS[name])
    for most in (40, 90):
        found, ids = matcher(compiler, ENDLESS[name]), list[int]()
        while END not in ids:
            assert len(ids) < most
            may_come = allowed(found, most - len(ids))
            liked = [i for i in b'[{a"1:,' if i in may_come] or may_come
            ids.append(liked[0])
            if ids[-1] != END:
                found.advance(ids[-1:])
        assert validator.is_valid(json.loads(bytes(ids[:-1])))
        assert len(ids) > most // 3
