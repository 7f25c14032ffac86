"""The commands of the server's pages run as they are written, and lists are complete."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from server_process import KEY, RunningServer

from tests.waiting import PATIENCE_S
from unisono.server.openai.known_fields import FEATURES, MESSAGE_FEATURES, NO_EFFECT
from unisono.server.openai.request_schema import ChatRequest, CompletionRequest

DOCS = Path(__file__).resolve().parents[3] / "docs"
PAGE, *OTHERS = (
    (DOCS / f"{name}.md").read_text(encoding="utf-8") for name in ("server", "responses", "ollama")
)
COMMANDS = [line for page in (PAGE, *OTHERS) for line in re.findall(r"^\$ (.*)$", page, re.M)]
OPENAI = {
    *("model", "messages", "prompt", "n", "seed", "stop", "stream", "stream_options", "tools"),
    *("temperature", "top_p", "frequency_penalty", "presence_penalty", "logit_bias"),
    *("max_tokens", "max_completion_tokens", "logprobs", "top_logprobs"),
}


def test_there_are_commands() -> None:
    assert len(COMMANDS) > 4


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command(server: RunningServer, command: str) -> None:
    here = command.replace("127.0.0.1:8000", f"127.0.0.1:{server.port}")
    assert here != command
    here = here.replace("curl ", f"curl --fail-with-body -H 'x-api-key: {KEY}' ")
    done = subprocess.run(["bash", "-c", here], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip()


def test_every_field_is_on_the_page() -> None:
    named = set(re.findall(r"`([a-z_]+)`", PAGE))
    own = (ChatRequest.model_fields.keys() | CompletionRequest.model_fields.keys()) - OPENAI
    assert not (own | FEATURES.keys() | NO_EFFECT | MESSAGE_FEATURES.keys()) - named
