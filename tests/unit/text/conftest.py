"""Fixtures with small tokenizers."""

from tests.small_tokenizers import folders, style, tokenizer, tokenizers_by_style

__all__ = ["folders", "style", "tokenizer", "tokenizers_by_style"]
