"""Clients of npm: one program does all that is tried and writes what it found as JSON."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from tests.clients.page import NODE
from tests.clients.served import KEY, Served
from tests.clients.tools import ARGUMENTS, REPORT


def run(program: str, *served: Served) -> dict[str, Any]:
    command = ["node", program, KEY, *(server.url for server in served)]
    done = subprocess.run(command, cwd=NODE, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def official(scripted: Served, demo: Served) -> dict[str, Any]:
    return run("official.mjs", scripted, demo)


@pytest.fixture(scope="module")
def ai_sdk(scripted: Served, demo: Served) -> dict[str, Any]:
    return run("ai_sdk.mjs", scripted, demo)


def test_openai(official: dict[str, Any]) -> None:
    assert official["tools"] == {"calls": [ARGUMENTS], "final": REPORT}
    assert official["reasoning"] == {"content": "Yes.", "reasoning": "Hm."}
    assert official["wrong"] == {"status": 400, "param": "temperature", "type": "BadRequestError"}


def test_anthropic(official: dict[str, Any]) -> None:
    assert official["messages"] == {"reason": "tool_use", "input": ARGUMENTS, "streamed": "Yes."}


def test_ai_sdk(ai_sdk: dict[str, Any]) -> None:
    assert ai_sdk["tools"] == {"calls": [ARGUMENTS], "final": REPORT, "steps": 2}
    assert ai_sdk["reasoning"] == {"text": "Yes.", "reasoning": "Hm."}
    assert ai_sdk["streamed"] == {"calls": [ARGUMENTS], "final": REPORT}
    assert set(ai_sdk["object"]) == {"urgent", "label"}
    assert ai_sdk["usage"] > 0
    assert ai_sdk["responses"] == ai_sdk["tools"]
