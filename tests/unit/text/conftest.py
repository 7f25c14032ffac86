"""Fixtures with small tokenizers, and a compiler of constraints for a vocabulary of bytes."""

from __future__ import annotations

import pytest

from tests.byte_grammar import byte_compiler
from tests.small_tokenizers import folders, style, tokenizer, tokenizers_by_style
from unisono.text.grammar.compiler import GrammarCompiler

__all__ = ["folders", "style", "tokenizer", "tokenizers_by_style"]


@pytest.fixture(scope="module")
def compiler() -> GrammarCompiler:
    return byte_compiler()
