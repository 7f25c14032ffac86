"""The examples of docs/clients.md for clients of this environment."""

from __future__ import annotations

import subprocess

import pytest

from tests.clients.page import NODE, examples, pointed_at
from tests.clients.served import Served

OFFICIAL = ("-openai", "-openai-agents", "-ollama", "-anthropic", "-litellm")
PYTHON = {name: code for name, code in examples("python").items() if name.endswith(OFFICIAL)}
SCRIPTS = examples("js")


@pytest.mark.parametrize("name", PYTHON)
def test_python(demo: Served, capsys: pytest.CaptureFixture[str], name: str) -> None:
    exec(pointed_at(demo, PYTHON[name]), {})
    assert len(capsys.readouterr().out) > 10


@pytest.mark.parametrize("name", SCRIPTS)
def test_javascript(demo: Served, name: str) -> None:
    command = ["node", "--input-type=module", "--eval", pointed_at(demo, SCRIPTS[name])]
    done = subprocess.run(command, cwd=NODE, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout) > 10
