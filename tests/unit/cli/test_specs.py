"""``unisono specs``: a table of all chips, everything about one, and JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")


def row(out: str, chip: str) -> str:
    (line,) = [line for line in out.splitlines() if line.split()[:1] == [chip]]
    return " ".join(line.split())


def test_help_teaches_by_example(program: Any) -> None:
    outcome = program("specs", "--help")
    assert outcome.code == 0
    assert "Examples:\n    unisono specs" in outcome.out


def test_all_chips(program: Any) -> None:
    outcome = program("specs")
    assert (outcome.code, outcome.err) == (0, "")
    assert row(outcome.out, "a100") == "a100 80 GiB V 2039 V 312 V 624 V no K 300 V 400 V"
    assert row(outcome.out, "br100").startswith("br100 64 GB P 1640 P* 1024 P* 2048 P* no V 256 P")
    assert row(outcome.out, "mlu590") == "mlu590 -* -* -* -* - -* -*"
    assert row(outcome.out, "br106").startswith("br106 31.75 GiB M - - - no V 64 C")
    assert "V the vendor's own page" in outcome.out


def test_the_table_fits_80_columns(program: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    out = program("specs").out
    assert row(out, "b300") == "b300 268.6 GiB V 7750 V* 2250 V* 153.5 V* 4500 V* 900 V 1100 V*"


def test_one_chip(program: Any) -> None:
    outcome = program("specs", "B200")
    assert (outcome.code, outcome.err) == (0, "")
    text = " ".join(outcome.out.split())
    assert text.startswith("NVIDIA B200 SXM · NVIDIA names: b200, ")
    assert "memory 180 GiB vendor: github.com/ai-dynamo/aiconfigurator" in text
    assert "conflict 192 GB community: several public lists (retrieved 2026-11)" in text
    assert "link bandwidth 900 GB/s, one way vendor" in text
    assert "fp32 unknown: not found" in text


def test_one_chip_with_gaps_and_measurements(program: Any) -> None:
    text = " ".join(program("specs", "br166m").out.split())
    assert "bf16, dense unknown: not disclosed by the vendor" in text
    assert "measured 820 GB/s, half of the card (SVI 1/2) measured: HAMi-on-Biren" in text
    assert "fp8, dense not supported vendor: birentech.com" in text


def test_json(program: Any) -> None:
    chips = json.loads(program("specs", "--json").out)
    assert {chip["id"] for chip in chips} >= {"a100", "br106", "mlu590"}
    chip = json.loads(program("specs", "a100", "--json").out)
    assert chip == next(each for each in chips if each["id"] == "a100")
    assert list(chip) == ["id", "name", "vendor", "aliases", "notes", "quantities"]
    bf16 = chip["quantities"]["bf16"]
    assert list(bf16) == [
        *("base_unit", "nominal", "unsupported", "unknown", "note", "measured", "conflicts")
    ]
    assert bf16["nominal"] == {
        "value": 312.0,
        "unit": "TFLOPS",
        "base": 312e12,
        "source": "github.com/ai-dynamo/aiconfigurator, systems/a100_sxm.yaml",
        "grade": "vendor",
        "retrieved": "2026-11",
        "date": "2026-07-14",
        "note": "",
        "direction": None,
        "part": "",
    }
    assert bf16["base_unit"] == "FLOP/s"
    assert bf16["measured"][0]["value"] == 259.2


def test_an_unknown_chip(program: Any) -> None:
    outcome = program("specs", "h1000")
    assert outcome.code == 2
    assert outcome.out == ""
    assert "error: 'h1000' is not a chip of the spec ledger." in outcome.err
    assert "hint: Near: h100" in outcome.err
