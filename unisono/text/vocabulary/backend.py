"""The native tokenizer of a folder. Knows nothing of special tokens or templates."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as Backend

from unisono.core.errors import CheckpointError
from unisono.core.folder_files import read_bytes
from unisono.text.vocabulary.converting import convert_folder
from unisono.text.vocabulary.native import native_call

__all__ = ["Backend", "load_backend"]

_MAX_TOKENIZER_BYTES = 256 << 20


def load_backend(folder: Path, config: Mapping[str, Any]) -> tuple[Backend, dict[str, Any]]:
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
    backend = _parse(content)
    backend.no_truncation()
    backend.no_padding()
    return backend, dict(config)


def _parse(content: bytes) -> Backend:
    with native_call(
        "tokenizer.json cannot be used",
        hint="Fetch the model again, or upgrade the package `tokenizers`.",
    ):
        return Backend.from_buffer(content)
