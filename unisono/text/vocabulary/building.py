"""The native tokenizer of a model folder or a GGUF file, and what the files beside it say.

Runs no code from the folder. What is built here may explode, so it is built in a limited process
(``tokenizer_program``).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as Backend

from unisono.core.errors import CheckpointError
from unisono.core.folder_files import read_bytes, read_json_object
from unisono.gguf.files import is_gguf
from unisono.text.templates.files import read_chat_templates
from unisono.text.vocabulary.built_tokenizer import BuiltTokenizer
from unisono.text.vocabulary.converting import convert_folder
from unisono.text.vocabulary.gguf_tokenizer import read_gguf_tokenizer
from unisono.text.vocabulary.native import native_call
from unisono.text.vocabulary.special_tokens import (
    add_missing_tokens,
    merge_legacy_map,
    merge_legacy_tokens,
    named_tokens,
)

_MAX_CONFIG_BYTES = 16 << 20
_MAX_TOKENIZER_BYTES = 256 << 20


def build_tokenizer(folder: Path) -> BuiltTokenizer:
    """Raises:
    CheckpointError: a file is missing, too large or corrupt.
    UnsupportedModelError: the vocabulary is of a kind that is not known.
    """
    if is_gguf(folder):
        return read_gguf_tokenizer(folder)
    config = read_json_object(folder / "tokenizer_config.json", _MAX_CONFIG_BYTES)
    legacy = read_json_object(folder / "special_tokens_map.json", _MAX_CONFIG_BYTES)
    added = read_json_object(folder / "added_tokens.json", _MAX_CONFIG_BYTES)
    config_decides = "added_tokens_decoder" in config
    config = merge_legacy_tokens(merge_legacy_map(config, legacy), added)
    backend, config = _load_backend(folder, config)
    add_missing_tokens(backend, config, config_decides=config_decides)
    return BuiltTokenizer(
        backend=backend,
        named=named_tokens(config),
        chat_templates=read_chat_templates(folder, config),
    )


def _load_backend(folder: Path, config: Mapping[str, Any]) -> tuple[Backend, dict[str, Any]]:
    """The tokenizer of ``tokenizer.json``, or one converted from an older vocabulary; it neither
    truncates nor pads. With it ``config``, completed by what an older vocabulary says itself.

    Raises:
        CheckpointError: no vocabulary is there, or it is too large or corrupt.
        UnsupportedModelError: it is of a kind that is not known.
    """
    content = read_bytes(folder / "tokenizer.json", _MAX_TOKENIZER_BYTES)
    if content is None:
        converted = convert_folder(folder, config)
        if converted is None:
            raise CheckpointError(
                f"{folder.name} has none of tokenizer.json, tokenizer.model, tekken.json and "
                "tiktoken files.",
                hint="Fetch the complete model, or convert its tokenizer with transformers: "
                "AutoTokenizer.from_pretrained(folder).save_pretrained(folder).",
            )
        return converted
    with native_call(
        "tokenizer.json cannot be used",
        hint="Fetch the model again, or upgrade the package `tokenizers`.",
    ):
        backend = Backend.from_buffer(content)
    backend.no_truncation()
    backend.no_padding()
    return backend, dict(config)
