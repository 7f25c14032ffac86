"""The table of ``benchmarks/compare_cpu.py`` and the choice of its engines; nothing is measured."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
ROOFS = {"read": 1e9, "matmul": 1e12}


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("peers.report")


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--engines", "llama-q9"], "'llama-q9' is none of unisono-bf16, "),
        (["--engines", "unisono-gguf"], "unisono-gguf does not run. Without --gguf there are uni"),
        (["--gguf", __file__, "--engines", "llama-q4_0"], "With --gguf there are unisono-gguf, ll"),
        (["--gguf", "/no/model.gguf"], "--gguf: /no/model.gguf is no file."),
        (["--engines", "unisono-int4"], "holds no model yet: run this with --prepare first."),
    ],
)
def test_engines_are_those_that_can_read_the_model(
    tmp_path: Path, words: list[str], error: str
) -> None:
    command = [sys.executable, str(BENCHMARKS / "compare_cpu.py"), str(tmp_path), *words]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode != 0
    assert error in done.stderr


def test_shares_of_roofs_are_given_where_the_work_is_known(report: ModuleType) -> None:
    rows = {"prefill": [900.0, 1000.0], "decode": [10.0, 10.0, 12.0]}
    known = report.summary(rows, 50_000_000, 1e8, ROOFS)
    assert known == {"prefill": 950.0, "decode": 10.0, "prefill_share": 0.095, "decode_share": 0.5}
    assert report.summary(rows, None, None, ROOFS) == {"prefill": 950.0, "decode": 10.0}


def test_the_table_leaves_out_what_is_not_known(report: ModuleType) -> None:
    engine = {
        "summary": report.summary({"prefill": [900.0], "decode": [10.0]}, None, None, ROOFS),
        "step_bytes": None,
        "peak_rss_bytes": 2e9,
    }
    work = {"prompt": 512, "short": 32, "batch": 8, "wide": 32, "long": 8192}
    *_, line = report.table({"workload": work, "engines": {"llama-gguf": engine}})
    assert line == "| llama-gguf | 900.0 |  | 10.00 |  |  |  |  |  | 2.00 |"
