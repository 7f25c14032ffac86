"""The native tokenizer behind a folder's ``tokenizer.json``, and the text it may be given.

Knows nothing of special tokens or templates.
"""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Tokenizer as Backend

from unisono.core.errors import CheckpointError, InvalidRequestError
from unisono.text.folder_files import read_bytes
from unisono.text.spelling import Spelling, read_spelling

__all__ = ["Backend", "check_text", "load_backend", "spelling_of"]

_MAX_TOKENIZER_BYTES = 256 << 20


def load_backend(folder: Path) -> Backend:
    """The tokenizer of ``tokenizer.json``, which neither truncates nor pads.

    Raises:
        CheckpointError: the file is missing, too large or corrupt.
    """
    content = read_bytes(folder / "tokenizer.json", _MAX_TOKENIZER_BYTES)
    if content is None:
        raise CheckpointError(
            f"{folder.name} has no tokenizer.json.",
            hint="Fetch the complete model, or convert its tokenizer with transformers: "
            "AutoTokenizer.from_pretrained(folder).save_pretrained(folder).",
        )
    backend = _parse(content)
    backend.no_truncation()
    backend.no_padding()
    return backend


def check_text(text: str) -> None:
    """Raises:
    InvalidRequestError: not text, or text with half a surrogate pair.
    """
    if not isinstance(text, str):
        raise InvalidRequestError(f"expected text, not {type(text).__name__}.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequestError(
            "the text holds half a surrogate pair, which is no character.",
            hint="Send valid Unicode.",
        ) from error


def _parse(content: bytes) -> Backend:
    try:
        return Backend.from_buffer(content)
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:  # a panic of the native parser is not an Exception
        raise CheckpointError(
            f"tokenizer.json cannot be used: {str(error)[:200]}.",
            hint="Fetch the model again, or upgrade the package `tokenizers`.",
        ) from error


def spelling_of(backend: Backend) -> Spelling:
    decoder = backend.decoder
    return read_spelling(None if decoder is None else json.loads(decoder.__getstate__()))
