"""The tokenizer of a folder without ``tokenizer.json``: from SentencePiece, tiktoken or tekken.

Which file it is, and which errors a user reads. Converts in memory and writes nothing; runs no
code from the folder. Knows nothing of templates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tokenizers import Tokenizer as Backend

from unisono.core.errors import UnsupportedModelError
from unisono.core.folder_files import read_bytes, read_json_object
from unisono.text.vocabulary import sentencepiece_backend, tiktoken_backend
from unisono.text.vocabulary.native import native_call
from unisono.text.vocabulary.sentencepiece_model import WireError, read_model
from unisono.text.vocabulary.special_tokens import declared_tokens, fill_declared, put_around
from unisono.text.vocabulary.tekken import NAMED, read_tekken
from unisono.text.vocabulary.tiktoken_families import TiktokenFamily, find_family

_MAX_BYTES = 64 << 20
_CONVERT = (
    "Fetch the model again. If it is whole, convert it once with transformers: "
    "AutoTokenizer.from_pretrained(folder).save_pretrained(folder) writes a tokenizer.json."
)


class _Converted(NamedTuple):
    backend: Backend
    named: Mapping[str, str]
    """``bos_token`` and its kind, as the vocabulary itself names tokens."""
    in_front: Sequence[str]
    """Tokens that go before a text."""


def convert_folder(
    folder: Path, config: Mapping[str, Any]
) -> tuple[Backend, dict[str, Any]] | None:
    """The tokenizer, and ``config`` with the names (``bos_token``, ...) that it left out; ``None``
    where the folder has no vocabulary of these kinds.

    Raises:
        CheckpointError: the file is unreadable or corrupt.
        UnsupportedModelError: it is of a kind that is not known.
    """
    path = _vocabulary_file(folder)
    content = None if path is None else read_bytes(path, _MAX_BYTES)
    if path is None or content is None:
        return None
    with native_call(f"{path.name} cannot be used", hint=_CONVERT):
        if path.name == "tekken.json":
            converted = _from_tekken(content)
        elif path.name == "tokenizer.model" and not _is_tiktoken(content):
            converted = _from_sentencepiece(content, config)
        else:
            family = _family(folder, config, path.name)
            converted = _from_tiktoken(content, config, family)
        full = {**converted.named, **config}
        fill_declared(converted.backend, config)
        put_around(converted.backend, full, in_front=converted.in_front)
        return converted.backend, full


def _vocabulary_file(folder: Path) -> Path | None:
    named = [folder / name for name in ("tokenizer.model", "tiktoken.model", "tekken.json")]
    found = [path for path in (*named, *sorted(folder.glob("*.tiktoken"))) if path.exists()]
    return found[0] if found else None


def _is_tiktoken(content: bytes) -> bool:
    """Returns whether the first line is a token in base64 and a number, as no protocol buffer's."""
    try:
        first, rank = content[:512].split(b"\n", 1)[0].split()
    except ValueError:
        return False
    return rank.isdigit() and first.isascii() and b"\n" in content[:512]


def _from_sentencepiece(content: bytes, config: Mapping[str, Any]) -> _Converted:
    try:
        model = read_model(content)
    except (WireError, ValueError) as error:
        raise WireError(f"it is no SentencePiece model: {error}") from error
    model = sentencepiece_backend.rename_pieces(model, declared_tokens(config))
    backend = sentencepiece_backend.build_backend(model, config)
    return _Converted(backend, sentencepiece_backend.named_pieces(model), ())


def _from_tiktoken(content: bytes, config: Mapping[str, Any], family: TiktokenFamily) -> _Converted:
    ranks = tiktoken_backend.read_ranks(content, counted=family.counts_ranks)
    backend = tiktoken_backend.build_backend(
        ranks, pattern=family.pattern, composes=family.composes
    )
    if not config.get("added_tokens_decoder"):
        tiktoken_backend.add_special(backend, family.special)
    return _Converted(backend, family.named, family.in_front)


def _from_tekken(content: bytes) -> _Converted:
    file = read_tekken(content)
    tiktoken_backend.check_ranks(file.ranks)
    backend = tiktoken_backend.build_backend(
        file.ranks, pattern=file.pattern, special_in_front=file.special
    )
    named = {name: text for name, text in NAMED.items() if text in file.special}
    return _Converted(backend, named, (NAMED["bos_token"],))


def _family(folder: Path, config: Mapping[str, Any], file_name: str) -> TiktokenFamily:
    name = config.get("tokenizer_class")
    model_type = read_json_object(folder / "config.json", 1 << 20).get("model_type")
    family = find_family(name, model_type)
    if family is None:
        raise UnsupportedModelError(
            f"How a text is cut for {file_name} is only in the checkpoint's code (tokenizer class "
            f"{name}, model type {model_type}), which is never run.",
            hint="Use a checkpoint of the model that has a tokenizer.json.",
        )
    return family
