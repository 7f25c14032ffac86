"""Clients that leave, engines that die, servers that are told to stop."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from server_process import KEY, MODEL_NAME, RunningServer

from tests.waiting import PATIENCE_S, becomes, until

StartServer = Callable[..., RunningServer]


def completion(**fields: Any) -> dict[str, Any]:
    return {"model": MODEL_NAME, "prompt": "a", "ignore_eos": True, "max_tokens": 400, **fields}


def metric(client: httpx.Client, name: str) -> float:
    found = re.search(rf"^{name} (\S+)$", client.get("/metrics").text, re.M)
    assert found, name
    return float(found[1])


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_frees_the_engine(
    server: RunningServer, client: httpx.Client, stream: bool
) -> None:
    body = json.dumps(completion(n=32, stream=stream)).encode()
    generated = metric(client, "unisono_generated_tokens_total")
    with socket.create_connection(("127.0.0.1", server.port)) as sock:
        sock.sendall(
            b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (KEY.encode(), len(body), body)
        )
        until(lambda: metric(client, "unisono_requests_running") > 0)
    until(lambda: metric(client, "unisono_requests_running") == 0)
    assert metric(client, "unisono_generated_tokens_total") - generated < 32 * 400
    assert 'reason="disconnect"' in client.get("/metrics").text


def test_an_engine_killed_before_the_first_token(own_server: StartServer) -> None:
    server = own_server(restart_wait_s=PATIENCE_S)

    async def scenario() -> None:
        headers = {"authorization": f"Bearer {KEY}"}
        async with httpx.AsyncClient(
            base_url=server.base_url, headers=headers, timeout=PATIENCE_S
        ) as client:
            pid = server.engine_pid()
            os.kill(pid, signal.SIGSTOP)  # it stays before the first token
            bodies = [completion(prompt="x" * 100), completion(stream=True)]
            written: list[str] = []

            async def note(event: str, _: object) -> None:
                if event == "http11.send_request_body.complete":
                    written.append(event)

            sent = [
                asyncio.create_task(
                    client.post("/v1/completions", json=body, extensions={"trace": note})
                )
                for body in bodies
            ]
            await becomes(lambda: len(written) == len(bodies) and server.is_idle())
            os.kill(pid, signal.SIGKILL)
            for response in await asyncio.wait_for(asyncio.gather(*sent), PATIENCE_S):
                assert response.status_code == 503
                assert response.json()["error"]["code"] == "engine_died"
                assert response.headers["retry-after"]
            health = await client.get("/health")
            assert (health.status_code, health.json()) == (503, {"status": "restarting"})
            # a request that comes now waits for the new engine
            answer = await client.post("/v1/completions", json=completion(max_tokens=3))
            assert answer.status_code == 200
            assert (await client.get("/health")).status_code == 200
            assert "unisono_engine_restarts_total 1.0" in (await client.get("/metrics")).text

    asyncio.run(scenario())


def test_an_engine_killed_in_the_middle_of_a_stream(own_server: StartServer) -> None:
    server = own_server(restart_wait_s=0.1)
    with (
        server.client() as client,
        client.stream("POST", "/v1/completions", json=completion(stream=True, n=8)) as response,
    ):
        assert response.status_code == 200
        lines = response.iter_lines()
        next(lines)
        server.kill_engine()
        rest = [line for line in lines if line]
        assert rest[-1] == "data: [DONE]"
        assert json.loads(rest[-2].removeprefix("data: "))["error"]["code"] == "engine_died"
        # with a short wait, a request that comes now is told to come back
        refused = client.post("/v1/completions", json=completion())
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "engine_restarting"
        until(lambda: client.get("/health").status_code == 200)


def test_draining(own_server: StartServer) -> None:
    server = own_server()
    engine = server.engine_pid()
    with (
        server.client() as client,
        server.client() as other,
        client.stream("POST", "/v1/completions", json=completion(stream=True, n=4)) as response,
    ):
        lines = response.iter_lines()
        next(lines)
        other.get("/health")
        os.kill(engine, signal.SIGSTOP)  # it does not end before the server has heard
        server.process.send_signal(signal.SIGTERM)
        until(lambda: other.get("/health").json() == {"status": "draining"})
        refused = other.post("/v1/completions", json=completion())
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "draining"
        assert refused.headers["retry-after"]
        os.kill(engine, signal.SIGCONT)
        rest = [line for line in lines if line]
        assert rest[-1] == "data: [DONE]"
        assert "error" not in rest[-2]
    assert server.process.wait(PATIENCE_S) == 0


def test_draining_ends_after_its_time(own_server: StartServer) -> None:
    server = own_server(drain_timeout_s=0.2)
    engine = server.engine_pid()
    with (
        server.client() as client,
        client.stream("POST", "/v1/completions", json=completion(stream=True, n=32)) as response,
    ):
        lines = response.iter_lines()
        next(lines)
        os.kill(engine, signal.SIGSTOP)
        server.process.send_signal(signal.SIGTERM)
        rest = [line for line in lines if line]
        assert rest[-1] == "data: [DONE]"
        assert "shut down" in json.loads(rest[-2].removeprefix("data: "))["error"]["message"]
    assert server.process.wait(PATIENCE_S) == 0
    assert not Path(f"/proc/{engine}").exists()


def test_a_second_signal_ends_running_requests(own_server: StartServer) -> None:
    server = own_server()
    engine = server.engine_pid()
    with (
        server.client() as client,
        client.stream("POST", "/v1/completions", json=completion(stream=True, n=32)) as response,
    ):
        lines = response.iter_lines()
        next(lines)
        os.kill(engine, signal.SIGSTOP)
        server.process.send_signal(signal.SIGINT)
        until(lambda: "running requests (1) have 30 s to finish" in server.log.read_text())
        server.process.send_signal(signal.SIGINT)
        rest = [line for line in lines if line]
        assert rest[-1] == "data: [DONE]"
        assert "shut down" in json.loads(rest[-2].removeprefix("data: "))["error"]["message"]
    assert server.process.wait(PATIENCE_S) == 0
    assert not Path(f"/proc/{engine}").exists()
    assert "restarted" not in server.log.read_text()


def test_ctrl_c_stops_an_idle_server(own_server: StartServer) -> None:
    server = own_server()
    engine = server.engine_pid()
    assert server.stop(signal.SIGINT) == 0
    assert not Path(f"/proc/{engine}").exists()


def test_an_engine_does_not_outlive_its_server(own_server: StartServer) -> None:
    server = own_server()
    engine = server.engine_pid()
    server.process.kill()
    until(lambda: not Path(f"/proc/{engine}").exists())


def test_the_log_carries_no_prompt_and_no_key(own_server: StartServer) -> None:
    server = own_server()
    with server.client() as client:
        client.post("/v1/completions", json=completion(prompt="a secret of ours", max_tokens=2))
        client.post("/v1/completions", json=completion(prompt="a secret of ours", unknown=1))
        client.post("/v1/completions", content=b'{"prompt": "a secret of ours"')
        server.kill_engine()
        until(lambda: "died" in server.log.read_text())
    server.stop()
    text = server.log.read_text()
    assert "died" in text
    assert "secret" not in text
    assert KEY not in text
