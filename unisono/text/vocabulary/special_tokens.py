"""Special tokens that ``tokenizer_config.json`` names on top of a vocabulary.

Follows transformers 5: the config's ``added_tokens_decoder`` decides over the flags of a token
(``lstrip``, ``special``, ...). Where there is a ``tokenizer.json`` it decides which tokens are put
around a text, and ``add_bos_token`` and ``add_eos_token`` of the config have no say beside it; they
count for the other vocabularies. Knows nothing of text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tokenizers import AddedToken
from tokenizers import Tokenizer as Backend

from unisono.core.errors import CheckpointError
from unisono.text.vocabulary.native import surround

_NAMES = tuple(f"{name}_token" for name in ("bos", "eos", "unk", "sep", "pad", "cls", "mask"))
_MAX_RESERVED = 1 << 16
_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")


def merge_legacy_map(config: Mapping[str, Any], legacy: Mapping[str, Any]) -> dict[str, Any]:
    """``special_tokens_map.json`` counts only where the config has no ``added_tokens_decoder``."""
    return dict(config) if "added_tokens_decoder" in config else {**config, **legacy}


def merge_legacy_tokens(config: Mapping[str, Any], added: Mapping[str, Any]) -> dict[str, Any]:
    """``added_tokens.json``, ids by text, counts only where the config has no
    ``added_tokens_decoder``."""
    if "added_tokens_decoder" in config or not added:
        return dict(config)
    special = {*named_tokens(config).values(), *map(_content, _extra_entries(config))}
    entries = {
        str(token_id): {
            "content": text,
            "special": text in special,
            "normalized": text not in special,
        }
        for text, token_id in added.items()
    }
    return {**config, "added_tokens_decoder": entries}


def declared_tokens(config: Mapping[str, Any]) -> dict[int, AddedToken]:
    """``added_tokens_decoder`` by id, in that order; a token that has a name is special.

    Raises:
        CheckpointError: an entry has not the form of a token.
    """
    named = frozenset(named_tokens(config).values())
    entries = config.get("added_tokens_decoder") or {}
    try:
        by_id = {int(token_id): entry for token_id, entry in entries.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise _bad_entry("added_tokens_decoder") from error
    return {token_id: _added_token(token_id, by_id[token_id], named) for token_id in sorted(by_id)}


def fill_declared(backend: Backend, config: Mapping[str, Any]) -> None:
    """Gives ``backend`` the declared tokens behind its vocabulary, each under its own id; an id
    between them that nobody declares becomes a reserved token.

    Raises:
        CheckpointError: a token cannot have the id that is declared.
    """
    size = backend.get_vocab_size(with_added_tokens=True)
    declared = declared_tokens(config)
    end = max(declared, default=-1) + 1
    if end - size > _MAX_RESERVED:
        raise _bad_entry("added_tokens_decoder")
    backend.add_tokens(
        [
            declared.get(token_id)
            or AddedToken(f"<|reserved_token_{token_id}|>", special=True, normalized=False)
            for token_id in range(size, end)
        ]
    )
    for token_id, token in declared.items():
        if backend.token_to_id(token.content) != token_id:
            raise CheckpointError(
                f"tokenizer_config.json declares {token.content!r} as token {token_id}, which the "
                "vocabulary does not agree with.",
                hint="Fetch the model again, or ask its publisher for a complete folder.",
            )


def put_around(
    backend: Backend, config: Mapping[str, Any], *, in_front: Sequence[str] = ()
) -> None:
    """The tokens around each text: those that ``add_bos_token`` and ``add_eos_token`` ask for, and
    ``in_front`` where the first of them is silent."""
    named = named_tokens(config)
    bos, eos = named.get("bos_token"), named.get("eos_token")
    front = list(in_front)
    if config.get("add_bos_token") is not None:
        front = [bos] if config["add_bos_token"] and bos else []
    back = [eos] if config.get("add_eos_token") and eos else []
    surround(backend, front, back)


def named_tokens(config: Mapping[str, Any]) -> dict[str, str]:
    """``bos_token`` and its kind (also a model's own, such as ``image_token``) with their texts."""
    texts = {name: _content(entry) for name, entry in _named_entries(config).items()}
    return {name: text for name, text in texts.items() if text}


def add_missing_tokens(
    backend: Backend, config: Mapping[str, Any], *, config_decides: bool
) -> None:
    """Gives ``backend`` the tokens that the config declares and ``tokenizer.json`` lacks, or has
    with other flags.

    Args:
        config_decides: over ids that ``tokenizer.json`` has too; not where what is declared comes
            from a legacy file. A token that has a name becomes special in either case.

    Raises:
        CheckpointError: an entry has not the form of a token.
    """
    added = backend.get_added_tokens_decoder()
    known = {_with_flags(token) for token in added.values()}
    named = frozenset(named_tokens(config).values())
    declared = declared_tokens(config)
    if not config_decides:
        for token in added.values():
            token.special = token.special or token.content in named
        declared |= added
    missing = [token for token in declared.values() if _with_flags(token) not in known]
    seen = {token.content for token in (*added.values(), *missing)}
    for entry in (*_named_entries(config).values(), *_extra_entries(config)):
        text = _content(entry)
        if text and text not in seen:
            seen.add(text)
            missing.append(AddedToken(text, **{"special": True, **_flags(entry)}))
            missing[-1].special |= text in named
    if missing:
        backend.add_tokens(missing)


def _named_entries(config: Mapping[str, Any]) -> dict[str, Any]:
    own = {
        name: entry
        for key in ("extra_special_tokens", "model_specific_special_tokens")
        if isinstance(entries := config.get(key), Mapping)
        for name, entry in entries.items()
    }
    entries = {**config, **own}
    names = [*_NAMES, *(key for key in entries if key.endswith("_token")), *own]
    return {name: entries[name] for name in names if name in entries}


def _extra_entries(config: Mapping[str, Any]) -> Sequence[Any]:
    entries = config.get("extra_special_tokens") or config.get("additional_special_tokens") or ()
    return entries if isinstance(entries, (list, tuple)) else ()


def _added_token(token_id: int, entry: Any, named: frozenset[str]) -> AddedToken:
    text = _content(entry)
    if text is None or not isinstance(entry, Mapping):
        raise _bad_entry(f"added_tokens_decoder: {token_id}")
    flags = _flags(entry)
    return AddedToken(text, **{**flags, "special": flags.get("special", False) or text in named})


def _flags(entry: Any) -> dict[str, bool]:
    if not isinstance(entry, Mapping):
        return {}
    return {name: bool(entry[name]) for name in _FLAGS if name in entry}


def _with_flags(token: AddedToken) -> tuple[Any, ...]:
    return (token.content, *(getattr(token, name) for name in _FLAGS))


def _content(entry: Any) -> str | None:
    if isinstance(entry, Mapping):
        entry = entry.get("content")
    return entry if isinstance(entry, str) else None


def _bad_entry(field: str) -> CheckpointError:
    return CheckpointError(
        f"tokenizer_config.json: {field} holds an entry that is no token.",
        hint="Fetch the model again, or ask its publisher for a complete folder.",
    )
