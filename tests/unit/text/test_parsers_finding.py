"""The format of a model, from its templates or its vocabulary."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

import unisono
from unisono.core.errors import ConfigError
from unisono.text.parsers.answer_format import AnswerFormat, Pair
from unisono.text.parsers.finding import FORMATS, find_format
from unisono.text.tokenizer import Tokenizer

PAGE = Path(unisono.__file__).parents[1] / "docs" / "tools.md"


def found(template: str, tokens: Sequence[str] = (), name: str = "auto") -> AnswerFormat:
    tokenizer = SimpleNamespace(
        chat_templates={"default": template},
        token_id=lambda text: tokens.index(text) if text in tokens else None,
    )
    return find_format(cast(Tokenizer, tokenizer), name)


@pytest.mark.parametrize(
    ("template", "tokens", "name"),
    [
        ("{{ '<tool_call>' }}", ["[TOOL_CALLS]"], "hermes"),
        ("{{ '<tool_call>\\n<function=' }}", [], "qwen3-coder"),
        ("{{ '<tool_call>' + '<arg_key>' }}", [], "glm"),
        ("{% set dsml = '｜DSML｜' %}{{ '<' + dsml + 'function_calls>' }}", [], "deepseek-v3.2"),
        ("{{ messages }}", ["<tool_call>"], "hermes"),
        ("{{ messages }}", ["<tool_call>", "<arg_key>"], "glm"),
        ("{{ messages }}", ["<|python_tag|>"], "llama"),
        ("{{ messages }}", [], "general"),
    ],
)
def test_a_format_is_found(template: str, tokens: list[str], name: str) -> None:
    assert found(template, tokens).name == name


@pytest.mark.parametrize(
    ("template", "thinking", "speaking"),
    [
        ("", None, None),
        ("{{ content.split('</think>')[-1] }}", Pair("<think>", "</think>"), None),
        (
            "'</think>' '</response>'",
            Pair("<think>", "</think>"),
            Pair("<response>", "</response>"),
        ),
        ("<|channel|> <|message|>", Pair("<|channel|>analysis<|message|>", "<|end|>"), None),
    ],
)
def test_marks_of_reasoning(template: str, thinking: Pair | None, speaking: Pair | None) -> None:
    format = found(template)
    assert (format.thinking, format.speaking) == (thinking, speaking)


def test_a_name_is_taken() -> None:
    assert found("<tool_call>", name="mistral").name == "mistral"
    with pytest.raises(ConfigError, match="no tool format 'nope'"):
        found("", name="nope")


def test_the_page_lists_every_format() -> None:
    table = PAGE.read_text("utf-8").partition("## Calls by grammar")[0]
    rows = re.findall(r"^\| `([a-z][^`]+)` \|", table, re.M)
    assert rows == [kind.name for kind in FORMATS]
