"""Capability cards: what ``unisono check`` found on a real device, committed as data.

A hardware is ``verified`` when a card of it that passed lies here, and only then.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

__all__ = ["CARD_SCHEMA", "Card", "Status", "load_cards", "status_of"]

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
        if data.get("schema") != CARD_SCHEMA:
            raise ValueError(f"schema {data.get('schema')!r}, expected {CARD_SCHEMA}")
        return cls(str(data["hardware"]), data["passed"] is True, data)


@cache
def load_cards() -> dict[str, Card]:
    """Hardware name -> its card."""
    cards = {}
    for path in sorted(files(__name__).iterdir(), key=lambda p: p.name):
        if path.name.endswith(".json"):
            card = Card.parse(json.loads(path.read_text(encoding="utf-8")))
            cards[card.hardware] = card
    return cards


def status_of(hardware: str) -> Status:
    """Whether a card from the real chip says that it passed."""
    card = load_cards().get(hardware)
    return "verified" if card is not None and card.passed else "unverified"
