"""Sessions of an agent over each protocol: calls come, and what was said before is in the cache."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.waiting import PATIENCE_S

PROGRAM = Path(__file__).parents[3] / "benchmarks/agent_session.py"


def test_sessions() -> None:
    done = subprocess.run(
        [sys.executable, PROGRAM, "--turns", "4", "--json"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    sessions = json.loads(done.stdout)
    protocols = ["chat completions", "responses", "messages", "ollama"]
    assert [session["protocol"] for session in sessions] == protocols
    for session in sessions:
        assert session["share"] > 0.9, session
