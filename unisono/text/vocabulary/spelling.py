"""Spelling of a vocabulary: what one token stands for, and whether text can be read off token
by token. Read from the ``decoder`` of ``tokenizer.json``; knows nothing of token ids.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from unisono.text.vocabulary.byte_pairs import BYTE_OF_LETTER

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_MAX_GROWTH = 64
_MAX_REPLACES = 64
_STREAMED_STEPS = re.compile(r"(?:(?:Replace )*|Metaspace )(?:ByteFallback )?(?:Fuse (?:Strip )?)?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Spelling:
    byte_level: bool = False
    """Tokens are written in the byte alphabet."""
    byte_fallback: bool = False
    """Tokens such as ``<0xE4>`` are bytes."""
    replacements: tuple[tuple[str, str], ...] = ()
    """Marks and what they stand for, such as a space."""
    first_drops: str = ""
    """A mark that stands for nothing in the first token."""
    joiner: str = ""
    """The text between tokens."""
    strip_char: str = ""
    num_strip: int = 0
    """Number of ``strip_char`` that are taken off the beginning of a text."""
    streamed: bool = True
    """False where only the decoder itself knows what a whole sequence says."""

    def piece(self, token: str) -> str | bytes:
        """The meaning of a token behind other tokens: text, or bytes that may be part of a
        character."""
        if self.byte_level:
            try:
                return bytes([BYTE_OF_LETTER[letter] for letter in token])
            except KeyError:
                return token.encode()
        for mark, text in self.replacements:
            token = token.replace(mark, text)
        if self.byte_fallback and (match := _BYTE_TOKEN.fullmatch(token)):
            return bytes([int(match[1], 16)])
        return token

    def first_piece(self, token: str) -> str | bytes:
        """The same for a token that begins a text."""
        return self.piece(token.replace(self.first_drops, "") if self.first_drops else token)


def read_spelling(decoder: Mapping[str, Any] | None) -> Spelling:
    """The spelling that a decoder, as ``tokenizer.json`` describes it, undoes."""
    if decoder is None:
        return Spelling(joiner=" ")
    steps = _flatten(decoder)
    kinds = [step["type"] for step in steps]
    if "ByteLevel" in kinds:
        return Spelling(byte_level=True, streamed=set(kinds) <= {"ByteLevel", "Fuse"})
    order = "".join(f"{kind} " for kind in kinds)
    metaspace = next((step for step in steps if step["type"] == "Metaspace"), None)
    strip = next((step for step in steps if step["type"] == "Strip"), None)
    replaces = [step for step in steps if step["type"] == "Replace"]
    replacements = _replacements(replaces, metaspace)
    is_bounded = _is_bounded(replacements)
    return Spelling(
        byte_fallback="ByteFallback" in kinds,
        replacements=replacements if is_bounded else (),
        first_drops=_first_drops(metaspace),
        strip_char=strip["content"] if strip else "",
        num_strip=strip["start"] if strip else 0,
        streamed=is_bounded
        and _STREAMED_STEPS.fullmatch(order) is not None
        and all("String" in step["pattern"] for step in replaces)
        and not (strip and strip["stop"]),
    )


def _flatten(decoder: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    if decoder["type"] != "Sequence":
        return [decoder]
    return [step for inner in decoder["decoders"] for step in _flatten(inner)]


def _replacements(
    replaces: list[Mapping[str, Any]], metaspace: Mapping[str, Any] | None
) -> tuple[tuple[str, str], ...]:
    pairs = [(step["pattern"].get("String"), step["content"]) for step in replaces]
    if metaspace:
        pairs.append((metaspace["replacement"], " "))
    return tuple((mark, text) for mark, text in pairs if mark)


def _is_bounded(replacements: tuple[tuple[str, str], ...]) -> bool:
    """Returns whether no token becomes a text that is very much longer; replacements multiply."""
    growths = (max(1.0, len(text) / len(mark)) for mark, text in replacements)
    return len(replacements) <= _MAX_REPLACES and math.prod(growths) <= _MAX_GROWTH


def _first_drops(metaspace: Mapping[str, Any] | None) -> str:
    if metaspace is None or metaspace.get("prepend_scheme") == "never":
        return ""
    return str(metaspace["replacement"])
