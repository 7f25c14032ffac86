"""Tokens that end an answer, read from a checkpoint's files.

The generation configuration's, or the model's where that names none, and the token that
``tokenizer_config.json`` names, whose id is looked up where folders declare tokens of that kind.
Builds no tokenizer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from unisono.core.errors import CheckpointError
from unisono.core.folder_files import read_json_object, read_text
from unisono.models.raw_config import RawConfig

_MAX_BYTES = 16 << 20
_MAX_TOKENIZER_BYTES = 256 << 20
_NONE = -1


def end_token_ids(folder: Path, raw: RawConfig, vocab_size: int) -> frozenset[int]:
    """``folder`` is a model folder or a GGUF file, whose metadata became ``raw``.

    Raises:
        CheckpointError: what is named is no token of the model, or a file cannot be read.
    """
    named = _named_ids(folder, raw)
    if not all(type(value) is int and 0 <= value < vocab_size for value in named):
        raise CheckpointError(
            f"eos_token_id must be a token id below {vocab_size} or a list of them, is "
            f"{named!r:.80}.",
            hint="Correct generation_config.json or config.json; null and -1 mean none.",
        )
    own = _tokenizer_id(folder) if folder.is_dir() else None
    return frozenset(named if own is None or own >= vocab_size else [*named, own])


def _named_ids(folder: Path, raw: RawConfig) -> list[Any]:
    generation = read_json_object(folder / "generation_config.json", _MAX_BYTES)
    given = _as_list(generation.get("eos_token_id"))
    return given or _as_list(raw.get("eos_token_id", raw.text().get("eos_token_id")))


def _as_list(ids: Any) -> list[Any]:
    values = ids if isinstance(ids, list) else [ids]
    return [value for value in values if value is not None and value != _NONE]


def _tokenizer_id(folder: Path) -> int | None:
    config = read_json_object(folder / "tokenizer_config.json", _MAX_BYTES)
    if "added_tokens_decoder" not in config:
        config |= read_json_object(folder / "special_tokens_map.json", _MAX_BYTES)
    text = _content(config.get("eos_token"))
    if text is None:
        return None
    return next((ids[text] for ids in _declared(folder, config) if text in ids), None)


def _declared(folder: Path, config: Mapping[str, Any]) -> Iterator[dict[str, int]]:
    """Ids by text, the cheapest to read first."""
    entries = config.get("added_tokens_decoder")
    if isinstance(entries, Mapping):
        yield _ids((_content(entry), token_id) for token_id, entry in entries.items())
    yield _ids(read_json_object(folder / "added_tokens.json", _MAX_BYTES).items())
    content = read_text(folder / "tokenizer.json", _MAX_TOKENIZER_BYTES)
    if content is None:
        return
    yield _added_tokens(content)
    yield _vocabulary(content)


def _added_tokens(content: str) -> dict[str, int]:
    """The added tokens of ``tokenizer.json``, in front of the vocabulary, which is not read."""
    key = content.find('"added_tokens"')
    start = content.find("[", key)
    if key < 0 or start < 0 or content[key + len('"added_tokens"') : start].strip() != ":":
        return {}
    try:
        entries, _ = json.JSONDecoder().raw_decode(content, start)
    except (ValueError, RecursionError):
        return {}
    objects = [entry for entry in entries if isinstance(entry, Mapping)]
    return _ids((_content(entry), entry.get("id")) for entry in objects)


def _vocabulary(content: str) -> dict[str, int]:
    try:
        model = json.loads(content)["model"]
        vocab = model["vocab"]
    except (ValueError, RecursionError, KeyError, TypeError):
        return {}
    if isinstance(vocab, Mapping):
        return _ids(vocab.items())
    if not isinstance(vocab, list):
        return {}
    return _ids((entry[0], index) for index, entry in enumerate(vocab) if _is_piece(entry))


def _is_piece(entry: Any) -> bool:
    return isinstance(entry, list) and bool(entry)


def _ids(pairs: Any) -> dict[str, int]:
    return {
        text: int(token_id)
        for text, token_id in pairs
        if isinstance(text, str) and _is_id(token_id)
    }


def _is_id(value: Any) -> bool:
    return isinstance(value, (int, str)) and len(text := str(value)) < 10 and text.isdecimal()


def _content(entry: Any) -> str | None:
    """The text of a token, which stands alone or in an object."""
    if isinstance(entry, Mapping):
        entry = entry.get("content")
    return entry if isinstance(entry, str) else None
