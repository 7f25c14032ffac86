"""A server that embeds, as clients of OpenAI's use it, and the commands of its page."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from server_process import KEY, RunningServer, start_server

from tests.embedders import write_embedder
from tests.waiting import PATIENCE_S
from unisono import LLM

PAGE = Path(__file__).resolve().parents[3] / "docs" / "embeddings.md"
COMMANDS = re.findall(r"^\$ (.*)$", PAGE.read_text(encoding="utf-8"), re.M)
TEXTS = [f"text {i}" for i in range(150)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("embedder")
    write_embedder(folder)
    return folder


@pytest.fixture(scope="module")
def embedding_server(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    running = start_server(folder, tmp_path_factory.mktemp("log") / "server.log", task="auto")
    yield running
    running.stop()


def test_openais_client(embedding_server: RunningServer, folder: Path) -> None:
    """It asks for base64 where nothing is said."""
    url = f"{embedding_server.base_url}/v1"
    expected = LLM(folder, device="cpu", dtype="float32", kv_memory="4MiB").embed(TEXTS)
    with openai.OpenAI(base_url=url, api_key=KEY, max_retries=0) as client:
        found = client.embeddings.create(model="tiny", input=TEXTS)
        as_floats = client.embeddings.create(model="tiny", input=TEXTS[:2], encoding_format="float")
        with pytest.raises(openai.BadRequestError, match="embeds texts"):
            client.completions.create(model="tiny", prompt="x")
    for entry, vector in zip(found.data, expected, strict=True):
        assert entry.embedding == pytest.approx(vector.tolist(), abs=1e-6)
    assert [one.embedding for one in as_floats.data] == [
        pytest.approx(one.embedding, abs=1e-8) for one in found.data[:2]
    ]
    assert found.usage.prompt_tokens == sum(len(text) + 1 for text in TEXTS)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command(embedding_server: RunningServer, command: str) -> None:
    here = command.replace("127.0.0.1:8000", f"127.0.0.1:{embedding_server.port}")
    here = here.replace("curl ", f"curl --fail-with-body -H 'x-api-key: {KEY}' ")
    done = subprocess.run(["bash", "-c", here], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stdout + done.stderr
