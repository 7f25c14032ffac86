#!/usr/bin/env python3
"""Writes docs/support-matrix.md from the committed cards; --check fails where it is stale."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points
from pathlib import Path

from unisono.hardware import Facts, load_hardware
from unisono.hardware.cards.status import Card, load_cards, status_of

PAGE = Path(__file__).resolve().parents[1] / "docs" / "support-matrix.md"
INTRODUCTION = """# Support matrix

Generated from the hardware files and the capability cards in `unisono/hardware/cards` by
`scripts/generate_support_matrix.py`; do not edit.

`verified` means that a card lies there which `unisono check` wrote on the real device and on which
nothing failed. All others are expected to work through PyTorch and were never run by us.
[conformance.md](conformance.md) says what is checked, and how to send a card.

| hardware | vendor | status | dtypes | features | card | torch | failing checks |
|---|---|---|---|---|---|---|---|
"""


def main() -> None:
    page = render_page()
    if sys.argv[1:] != ["--check"]:
        PAGE.write_text(page, encoding="utf-8")
    elif not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != page:
        sys.exit("docs/support-matrix.md is stale: run scripts/generate_support_matrix.py")


def render_page() -> str:
    classes, _ = load_hardware()
    entries = entry_points(group="unisono.hardware")
    own = {entry.name for entry in entries if entry.value.startswith("unisono.")}
    cards = load_cards()
    rows = [render_row(classes[name].facts, cards.get(name)) for name in sorted(own)]
    return INTRODUCTION + "".join(f"| {' | '.join(row)} |\n" for row in rows)


def render_row(facts: Facts, card: Card | None) -> list[str]:
    cells = [f"`{facts.name}`", facts.vendor, status_of(facts.name), ", ".join(facts.dtypes)]
    cells.append(", ".join(sorted(facts.features)) or "-")
    if card is None:
        return [*cells, "none", "", ""]
    data = card.data
    failing = [
        result["check"]
        for result in data.get("results", [])
        if result["outcome"] in ("failed", "error", "hang", "crashed")
    ]
    when = f"{str(data.get('date', ''))[:10]} ({data.get('mode', '')})"
    torch = data.get("versions", {}).get("torch", "")
    return [*cells, when, torch, ", ".join(failing) or "none"]


if __name__ == "__main__":
    main()
