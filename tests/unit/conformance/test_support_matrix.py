"""The support matrix: one row a hardware, from its file and its card."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from unisono.hardware import Facts
from unisono.hardware.cards.status import Card

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "generate_support_matrix.py"
FACTS = Facts(name="x1", device_type="x1", vendor="Somebody", features=frozenset({"graphs"}))


@pytest.fixture
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_support_matrix", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_hardware_without_a_card(script: ModuleType) -> None:
    row = script.render_row(FACTS, None)
    assert row == ["`x1`", "Somebody", "unverified", "float32", "graphs", "none", "", ""]


def test_a_card_that_did_not_pass_says_why(script: ModuleType) -> None:
    data = {
        "schema": 1,
        "hardware": "x1",
        "passed": False,
        "date": "2026-01-02T03:04:05Z",
        "mode": "full",
        "versions": {"torch": "2.13.0"},
        "results": [
            {"check": "ops.linear", "outcome": "failed"},
            {"check": "ops.rope", "outcome": "passed"},
        ],
    }
    row = script.render_row(FACTS, Card.parse(data))
    assert row[2:] == [
        *("unverified", "float32", "graphs"),
        *("2026-01-02 (full)", "2.13.0", "ops.linear"),
    ]


def test_the_page_is_fresh(script: ModuleType) -> None:
    assert script.PAGE.read_text("utf-8") == script.render_page()
    assert "| `cpu` |" in script.render_page()
