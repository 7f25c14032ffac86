"""Mistral's ``tekken.json``: a tiktoken vocabulary that says everything about itself.

Special tokens have the first ids, the ranks follow. Knows the file's form alone.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

NAMED = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
"""The same in every such file."""
_UNLISTED = (
    *("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]"),
    *("[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]"),
    *("[IMG_END]", "[PREFIX]", "[MIDDLE]", "[SUFFIX]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"),
    "[TOOL_CONTENT]",
)
"""By id, in files that list none (Mistral Nemo, Pixtral): what ``mistral-common`` takes there."""
_UNLISTED_VERSIONS = ("v1", "v2", "v3", "v7")
_MAX_SPECIAL = 1 << 16


class TekkenError(ValueError):
    """Not such a file, or one of a version that lists its special tokens and does not."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TekkenFile:
    pattern: str
    special: tuple[str, ...]
    """By id, from 0 on."""
    ranks: Mapping[bytes, int]
    """Ids less the number of special tokens."""


def read_tekken(content: bytes) -> TekkenFile:
    """Raises:
    TekkenError: as that says.
    """
    try:
        whole = json.loads(content)
        config = whole["config"]
        special = _special(_listed(whole), config.get("default_num_special_tokens"))
        size = config.get("default_vocab_size")
        entries = whole["vocab"] if size is None else whole["vocab"][: size - len(special)]
        tokens = [base64.b64decode(entry["token_bytes"], validate=True) for entry in entries]
        pattern = config["pattern"]
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        reason = error if isinstance(error, TekkenError) else "it has not the form of such a file"
        raise TekkenError(str(reason)) from error
    if len(set(tokens)) != len(tokens) or not all(tokens) or not isinstance(pattern, str):
        raise TekkenError("it has a token twice, an empty token, or no pattern")
    return TekkenFile(
        pattern=pattern,
        special=special,
        ranks={token: rank for rank, token in enumerate(tokens)},
    )


def _listed(whole: Mapping[str, Any]) -> dict[int, str]:
    """Special tokens by rank."""
    listed, version = whole.get("special_tokens"), whole["config"].get("version")
    if listed is not None:
        return {int(entry["rank"]): str(entry["token_str"]) for entry in listed}
    if version not in _UNLISTED_VERSIONS:
        raise TekkenError(f"it does not list its special tokens, in version {version!r:.20}")
    return dict(enumerate(_UNLISTED))


def _special(by_rank: Mapping[int, str], count: int | None) -> tuple[str, ...]:
    number = len(by_rank) if count is None else int(count)
    if sorted(by_rank) != list(range(len(by_rank))) or not len(by_rank) <= number <= _MAX_SPECIAL:
        raise TekkenError(
            "its special tokens are not numbered one after the other, or more than it says"
        )
    return tuple(by_rank.get(rank, f"<SPECIAL_{rank}>") for rank in range(number))
