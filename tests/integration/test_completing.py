"""Completions that Tab offers, asked for as shells ask."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import PATIENCE_S


def offered(shell: str, *words: str, **environment: str) -> str:
    """The program's answer to a shell that completes the last of ``words``."""
    asked = {
        "_UNISONO_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": str(len(words) - 1),
        "_TYPER_COMPLETE_ARGS": " ".join(words),
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    program = "import sys\nfrom unisono.cli import main\nmain()\nassert 'torch' not in sys.modules"
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **asked, **environment},
        capture_output=True,
        check=True,
        timeout=PATIENCE_S,
    ).stdout.decode()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["ch"], ["chat", "check"]),
        (["serve", "--thr"], ["--threads"]),
        (["run", "--device", "cp"], ["cpu"]),
        (["check", "cp"], ["cpu"]),
        (["check", "--only", "soak"], ["soak", "soak.load", "soak.drift"]),
        (["bench", "--dtype", "b"], ["bfloat16"]),
        (["run", "--generation-config", "n"], ["none"]),
        (["specs", "h1"], ["h100"]),
    ],
    ids=lambda each: " ".join(each),
)
def test_verbs_options_and_values(words: list[str], expected: list[str]) -> None:
    assert offered("bash", "unisono", *words).split() == expected


def test_models_are_those_of_the_cache(tmp_path: Path) -> None:
    for name in ("models--Qwen--Qwen3-0.6B", "models--org--a--b", "models--x", "datasets--Qwen--x"):
        (tmp_path / name / "snapshots").mkdir(parents=True)
    found = offered("bash", "unisono", "run", "Qw", HF_HUB_CACHE=str(tmp_path))
    assert found.split() == ["Qwen/Qwen3-0.6B"]
    found = offered("bash", "unisono", "serve", "o", HF_HUB_CACHE=str(tmp_path))
    assert found.split() == ["org/a--b"]


def test_zsh_and_fish_ask_in_their_own_way() -> None:
    assert '"h100"' in offered("zsh", "unisono", "specs", "h1")
    assert offered("fish", "unisono", "specs", "h1").split() == ["h100"]
