"""Structural tags: free text, and schemas between a beginning and an end."""

from __future__ import annotations

from typing import Any

import pytest

from tests import byte_grammar
from unisono.core.constraint import Constraint
from unisono.core.errors import InvalidRequestError
from unisono.text.grammar.compiler import GrammarCompiler
from unisono.text.grammar.matcher import ConstraintFailedError
from unisono.text.grammar.vocabulary import Vocabulary

SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer"}},
    "required": ["n"],
    "additionalProperties": False,
}
TAG = {
    "structures": [
        {"begin": "<f=one>", "schema": SCHEMA, "end": "</f>"},
        {"begin": "<f=two>", "schema": {"enum": ["x"]}, "end": "</f>"},
    ],
    "triggers": ["<f="],
}


def takes(compiler: GrammarCompiler, text: str) -> bool:
    return byte_grammar.takes(compiler, Constraint.of("structural_tag", TAG), text)


@pytest.mark.parametrize(
    "text",
    ["", "Hello\n<b>", 'I call <f=one>{"n": 5}</f>', '<f=two>"x"</f> and <f=one>{"n":1}</f>!\n'],
)
def test_it_is_allowed(compiler: GrammarCompiler, text: str) -> None:
    assert takes(compiler, text)


@pytest.mark.parametrize(
    "text",
    ["<f=", "<f=three>", 'a <f=one>{"m": 5}</f>', '<f=one>{"n": 5}', '<f=one>{"n": 5}</g>'],
)
def test_it_is_not(compiler: GrammarCompiler, text: str) -> None:
    assert not takes(compiler, text)


def test_special_tokens_in_tags() -> None:
    """A name in a tag is the token; its letters, spelled by other tokens, are text."""
    call, end, close = 256, 257, 258
    tokens = (*(bytes([byte]) for byte in range(256)), b"<|call|>", b"<|end|>", b"<|eos|>")
    vocabulary = Vocabulary(tokens, (call, end, close))
    compiler = GrammarCompiler(lambda: vocabulary, 259, [close])
    structure = {"begin": "<|call|>f:", "schema": {"enum": ["x"]}, "end": "<|end|>"}
    constraint = Constraint.of(
        "structural_tag", {"structures": [structure], "triggers": ["<|call|>"]}
    )

    def takes(*pieces: str | int) -> bool:
        matcher = compiler.matcher(constraint)
        ids = [i for one in pieces for i in ([one] if isinstance(one, int) else one.encode())]
        try:
            matcher.advance(ids)
        except ConstraintFailedError:
            return False
        return matcher.may_end

    assert takes("So <|call|> ", call, 'f:"x"', end, " and ", call, 'f:"x"', end)
    assert not takes(call, 'f:"y"')
    assert not takes(call, 'f:"x"<|end|>')
    assert not takes("So ", end)
    assert not takes(call)


@pytest.mark.parametrize(
    "tag",
    [
        [],
        {"structures": [], "triggers": ["<"]},
        {"structures": [{"begin": "a"}], "triggers": ["b"]},
        {"structures": [{"begin": "a"}]},
        {"structures": [{"begin": 5}], "triggers": ["b"]},
        {"structures": [{"begin": "b", "schema": {"contains": {}}}], "triggers": ["b"]},
        {"format": {"type": "any_text"}},
    ],
)
def test_it_is_refused(compiler: GrammarCompiler, tag: Any) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        compiler.matcher(Constraint.of("structural_tag", tag))
    assert caught.value.param == "structural_tag"
