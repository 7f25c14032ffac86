"""Capability cards: what ``unisono check`` found on a real device, committed as data.

A hardware is ``verified`` when a card of it that passed lies here, and only then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from unisono.core.errors import SpecError
from unisono.core.folder_files import parse_json

CARD_SCHEMA = 1
Status = Literal["verified", "unverified"]


@dataclass(frozen=True, slots=True)
class Card:
    """The part of a card that others than the kit read; ``data`` is all of it."""

    hardware: str
    passed: bool
    data: Mapping[str, Any]

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Card:
        """Raises ValueError where it is not a card of this schema."""
        if not isinstance(data, Mapping) or data.get("schema") != CARD_SCHEMA:
            found = data.get("schema") if isinstance(data, Mapping) else data
            raise ValueError(f"schema {found!r:.80}, expected {CARD_SCHEMA}")
        hardware, passed = data.get("hardware"), data.get("passed")
        if not isinstance(hardware, str) or not isinstance(passed, bool):
            raise ValueError(
                f"hardware {hardware!r:.80} and passed {passed!r:.80} are no such values"
            )
        return cls(hardware, passed, data)


@cache
def load_cards() -> dict[str, Card]:
    """Hardware name -> its card.

    Raises:
        SpecError: a file is damaged.
    """
    cards = {}
    for path in sorted(files("unisono.hardware.cards").iterdir(), key=lambda p: p.name):
        if path.name.endswith(".json"):
            card = _read(path.name, path.read_bytes())
            cards[card.hardware] = card
    return cards


def _read(name: str, content: bytes) -> Card:
    try:
        return Card.parse(parse_json(content))
    except ValueError as error:
        raise SpecError(
            f"The capability card {name} is damaged ({error}).", hint="Install unisono again."
        ) from error


def status_of(hardware: str) -> Status:
    """``verified`` where a card from the real chip says that it passed."""
    card = load_cards().get(hardware)
    return "verified" if card is not None and card.passed else "unverified"
