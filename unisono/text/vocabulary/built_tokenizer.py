"""A native tokenizer, and what its folder or file says beside it."""

from __future__ import annotations

from dataclasses import dataclass

from tokenizers import Tokenizer as Backend


@dataclass(frozen=True, kw_only=True, slots=True)
class BuiltTokenizer:
    backend: Backend
    named: dict[str, str]
    """``bos_token`` and its kind, with their texts."""
    chat_templates: dict[str, str]
