"""The native tokenizer of a model folder or a GGUF file, and what the files beside it say.

Runs no code from the folder. What is built here may explode, so it is built in a limited process
(``tokenizer_program``).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from unisono.core.folder_files import read_json_object
from unisono.gguf.files import is_gguf
from unisono.text.templates.files import read_chat_templates
from unisono.text.vocabulary.backend import Backend, load_backend
from unisono.text.vocabulary.gguf_tokenizer import read_gguf_tokenizer
from unisono.text.vocabulary.special_tokens import (
    add_missing_tokens,
    merge_legacy_map,
    merge_legacy_tokens,
    named_tokens,
)

__all__ = ["BuiltTokenizer", "build_tokenizer"]

_MAX_CONFIG_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class BuiltTokenizer:
    backend: Backend
    named: dict[str, str]
    """``bos_token`` and its kind, with their texts."""
    chat_templates: dict[str, str]


def build_tokenizer(folder: Path) -> BuiltTokenizer:
    """Raises:
    CheckpointError: a file is missing, too large or corrupt.
    UnsupportedModelError: the vocabulary is of a kind that is not known.
    """
    if is_gguf(folder):
        own = read_gguf_tokenizer(folder)
        return BuiltTokenizer(own.backend, own.named, own.chat_templates)
    config = read_json_object(folder / "tokenizer_config.json", _MAX_CONFIG_BYTES)
    legacy = read_json_object(folder / "special_tokens_map.json", _MAX_CONFIG_BYTES)
    added = read_json_object(folder / "added_tokens.json", _MAX_CONFIG_BYTES)
    config_decides = "added_tokens_decoder" in config
    config = merge_legacy_tokens(merge_legacy_map(config, legacy), added)
    backend, config = load_backend(folder, config)
    add_missing_tokens(backend, config, config_decides=config_decides)
    return BuiltTokenizer(backend, named_tokens(config), read_chat_templates(folder, config))
