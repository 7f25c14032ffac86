"""Special tokens that ``tokenizer_config.json`` names on top of ``tokenizer.json``.

Follows transformers 5: ``tokenizer.json`` decides which tokens are put around a text, so
``add_bos_token`` and ``add_eos_token`` of the config have no say beside it. Knows nothing of text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokenizers import AddedToken
from tokenizers import Tokenizer as Backend

from unisono.core.errors import CheckpointError

__all__ = ["add_missing_tokens", "merge_legacy_map", "named_tokens"]

_NAMES = tuple(f"{name}_token" for name in ("bos", "eos", "unk", "sep", "pad", "cls", "mask"))
_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")


def merge_legacy_map(config: Mapping[str, Any], legacy: Mapping[str, Any]) -> dict[str, Any]:
    """``special_tokens_map.json`` counts only where the config has no ``added_tokens_decoder``."""
    return dict(config) if "added_tokens_decoder" in config else {**config, **legacy}


def named_tokens(config: Mapping[str, Any]) -> dict[str, str]:
    """``bos_token`` and its kind (also a model's own, such as ``image_token``) with their texts."""
    own = config.get("extra_special_tokens")
    entries = {**config, **own} if isinstance(own, Mapping) else config
    names = [*_NAMES, *(key for key in entries if key.endswith("_token") and key not in _NAMES)]
    if isinstance(own, Mapping):
        names += [key for key in own if key not in names]
    texts = {name: _content(entries.get(name)) for name in names}
    return {name: text for name, text in texts.items() if text}


def add_missing_tokens(backend: Backend, config: Mapping[str, Any]) -> None:
    """Gives ``backend`` the tokens that the config declares and ``tokenizer.json`` lacks.

    Raises:
        CheckpointError: an entry has not the form of a token.
    """
    known = {token.content: token.special for token in backend.get_added_tokens_decoder().values()}
    named = named_tokens(config)
    declared = _declared_tokens(config, frozenset(named.values()))
    missing = [
        token
        for token in declared
        if token.content not in known or (token.special and not known[token.content])
    ]
    seen = {*known, *(token.content for token in missing)}
    for text in (*named.values(), *_extra_tokens(config)):
        if text not in seen:
            seen.add(text)
            missing.append(AddedToken(text, special=True))
    if missing:
        backend.add_tokens(missing)


def _declared_tokens(config: Mapping[str, Any], named: frozenset[str]) -> list[AddedToken]:
    entries = config.get("added_tokens_decoder") or {}
    try:
        ordered = sorted((int(token_id), entry) for token_id, entry in entries.items())
    except (AttributeError, TypeError, ValueError) as error:
        raise _bad_entry("added_tokens_decoder") from error
    return [_added_token(entry, named) for _, entry in ordered]


def _added_token(entry: Any, named: frozenset[str]) -> AddedToken:
    text = _content(entry)
    if text is None or not isinstance(entry, Mapping):
        raise _bad_entry("added_tokens_decoder")
    flags = {name: bool(entry[name]) for name in _FLAGS if name in entry}
    return AddedToken(text, **{**flags, "special": flags.get("special", False) or text in named})


def _extra_tokens(config: Mapping[str, Any]) -> list[str]:
    entries = config.get("extra_special_tokens") or config.get("additional_special_tokens") or ()
    if isinstance(entries, Mapping):
        return []
    texts = [_content(entry) for entry in entries]
    return [text for text in texts if text]


def _content(entry: Any) -> str | None:
    if isinstance(entry, Mapping):
        entry = entry.get("content")
    return entry if isinstance(entry, str) else None


def _bad_entry(field: str) -> CheckpointError:
    return CheckpointError(
        f"tokenizer_config.json: {field} holds an entry that is no token.",
        hint="Fetch the model again, or ask its publisher for a complete folder.",
    )
