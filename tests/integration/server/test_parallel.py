"""A server whose engine is in two processes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import openai
import pytest
from server_process import KEY, MODEL_NAME, RunningServer

from tests.waiting import PATIENCE_S, until

StartServer = Callable[..., RunningServer]
USER = {"role": "user", "content": "Tell me about 北京 😀"}
TWO = {"tensor_parallel": 2}


def rank_of(engine: int) -> int:
    """The engine process's child."""
    (child,) = Path(f"/proc/{engine}/task/{engine}/children").read_text().split()
    assert b"unisono.engine.ranks.rank" in Path(f"/proc/{child}/cmdline").read_bytes()
    return int(child)


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def api(server: RunningServer) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.base_url}/v1", api_key=KEY, max_retries=0)


def chat(client: openai.OpenAI) -> str | None:
    answer = client.chat.completions.create(
        model=MODEL_NAME, messages=[USER], max_tokens=12, seed=3, temperature=1.0
    )
    return answer.choices[0].message.content


def test_two_ranks_answer_die_and_come_back(server: RunningServer, own_server: StartServer) -> None:
    with api(server) as client:
        expected = chat(client)
    two = own_server(engine=TWO, restart_wait_s=PATIENCE_S)
    with api(two) as client, two.client() as http:
        assert chat(client) == expected
        # while it works
        engine = two.engine_pid()
        stream = client.completions.create(
            model=MODEL_NAME,
            prompt="a",
            max_tokens=400,
            stream=True,
            extra_body={"ignore_eos": True},
        )
        next(iter(stream))
        os.kill(rank_of(engine), signal.SIGKILL)
        with pytest.raises(openai.APIError, match="engine process ended"):
            list(stream)
        assert chat(client) == expected
        # while it is idle
        engine = two.engine_pid()
        os.kill(rank_of(engine), signal.SIGKILL)
        until(lambda: gone(engine))
        assert chat(client) == expected
        assert http.get("/health").status_code == 200
        engine = two.engine_pid()
        rank = rank_of(engine)
    assert two.stop() == 0
    until(lambda: gone(rank) and gone(engine))
    log = two.log.read_text()
    assert log.count("Rank 1 ended with status -9") >= 2
    assert "Traceback" not in log
