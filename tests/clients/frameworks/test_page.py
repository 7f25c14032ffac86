"""The examples of docs/clients.md for frameworks."""

from __future__ import annotations

import pytest

from tests.clients.page import examples, pointed_at
from tests.clients.served import Served

OFFICIAL = ("-openai", "-openai-agents", "-ollama", "-anthropic", "-litellm")
PYTHON = {name: code for name, code in examples("python").items() if not name.endswith(OFFICIAL)}


@pytest.mark.parametrize("name", PYTHON)
def test_python(demo: Served, capsys: pytest.CaptureFixture[str], name: str) -> None:
    exec(pointed_at(demo, PYTHON[name]), {"__name__": "example"})
    assert len(capsys.readouterr().out) > 5
