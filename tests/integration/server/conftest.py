from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import openai
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from server_process import (
    KEY,
    RunningServer,
    start_server,
    write_model,
    write_tokenizer,
)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny-model")
    write_model(folder, write_tokenizer(folder))
    return folder


@pytest.fixture(scope="session")
def server(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One server that all tests share which leave it as it was."""
    running = start_server(model_folder, tmp_path_factory.mktemp("log") / "server.log")
    yield running
    running.stop()


@pytest.fixture
def own_server(model_folder: Path, tmp_path: Path) -> Iterator[Callable[..., RunningServer]]:
    """Starts servers that a test may break."""
    started: list[RunningServer] = []

    def start(**options: object) -> RunningServer:
        started.append(start_server(model_folder, tmp_path / f"{len(started)}.log", **options))
        return started[-1]

    yield start
    for running in started:
        running.process.kill()
        running.process.wait()


@pytest.fixture
def client(server: RunningServer) -> Iterator[httpx.Client]:
    with server.client() as found:
        yield found


@pytest.fixture
def api(server: RunningServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.base_url}/v1", api_key=KEY, max_retries=0) as client:
        yield client
