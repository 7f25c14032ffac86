from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import PATIENCE_S, becomes
from unisono.core import EngineConfig, Request, SamplingParams
from unisono.core.errors import (
    CheckpointError,
    ContextLengthError,
    EngineDeadError,
    QueueFullError,
    UnisonoError,
)
from unisono.server.engine.answers import Answers
from unisono.server.engine.supervisor import EngineRestartingError, EngineSupervisor
from unisono.server.settings import ServerSettings

COMMAND = (sys.executable, str(Path(__file__).with_name("fake_worker.py")))
Start = Callable[..., Awaitable[EngineSupervisor]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    started: list[EngineSupervisor] = []

    async def make(kind: str = "good", **options: Any) -> EngineSupervisor:
        settings = ServerSettings(model_folder=Path("/m") / kind, model_name="m", **options)
        started.append(EngineSupervisor(settings, COMMAND))
        await started[-1].start()
        return started[-1]

    yield make
    for supervisor in started:
        await supervisor.stop()


def request(name: str = "r", prompt: tuple[int, ...] = (1, 2), max_tokens: int = 3) -> Request:
    params = SamplingParams(max_tokens=max_tokens)
    return Request(id=name, prompt_token_ids=prompt, params=params)


async def tokens_of(supervisor: EngineSupervisor, *requests: Request) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {one.id: [] for one in requests}
    async for outputs in await supervisor.submit(requests):
        for output in outputs:
            found[output.request_id] += output.token_ids
    return found


async def drained(answers: Answers) -> None:
    async for _ in answers:
        pass


async def test_many_requests_over_one_link(start: Start) -> None:
    supervisor = await start()
    assert supervisor.facts.vocab_size == 259
    requests = [request(str(i), (i, i + 1), max_tokens=i + 1) for i in range(20)]
    answers = await asyncio.gather(*(tokens_of(supervisor, one) for one in requests))
    assert [len(answer[str(i)]) for i, answer in enumerate(answers)] == list(range(1, 21))
    assert (await tokens_of(supervisor, *requests))["3"] == [3, 4, 3, 4]
    await becomes(lambda: supervisor.stats.get("num_running") == 0)
    assert supervisor.num_in_flight_of("") == 0


async def test_a_refused_request_fails_alone(start: Start) -> None:
    supervisor = await start("slow", engine=EngineConfig(max_queue=1))
    with pytest.raises(ContextLengthError):
        await tokens_of(supervisor, request("long", (1,) * 5000))
    assert await tokens_of(supervisor, request())


async def test_a_full_queue_says_when_to_come_back(start: Start) -> None:
    supervisor = await start(engine=EngineConfig(max_queue=1))
    with pytest.raises(QueueFullError) as caught:
        await tokens_of(supervisor, *(request(str(i)) for i in range(3)))
    assert caught.value.retry_after_s == 7


async def test_closing_answers_frees_the_engine(start: Start) -> None:
    supervisor = await start("slow")
    answers = await supervisor.submit([request(max_tokens=200)])
    await answers.__anext__()
    answers.close()
    await becomes(lambda: supervisor.stats.get("num_running") == 0)


async def test_a_killed_engine_ends_its_requests_and_comes_back(start: Start) -> None:
    supervisor = await start("slow")
    answers = await supervisor.submit([request(max_tokens=200)])
    await answers.__anext__()
    pid, link = supervisor.process_id, supervisor._link
    assert pid is not None
    assert link is not None
    assert link.num_in_flight == 1
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(EngineDeadError, match="send the request again"):
        await asyncio.wait_for(drained(answers), PATIENCE_S)
    assert link.num_in_flight == 0
    # one that comes while there is no engine waits for the next one
    assert await tokens_of(supervisor, request("next"))
    assert supervisor._link is not link
    assert supervisor._link is not None
    assert supervisor._link.num_in_flight == 0
    assert supervisor.num_in_flight_of("") == 0
    assert supervisor.num_restarts == 1
    assert supervisor.process_id != pid


async def test_an_engine_with_a_bug_is_restarted(start: Start) -> None:
    supervisor = await start("crashing")
    with pytest.raises(EngineDeadError):
        await tokens_of(supervisor, request())
    await becomes(lambda: supervisor.state == "ready" and supervisor.num_restarts == 1)
    assert supervisor._link is not None
    assert supervisor._link.num_in_flight == 0


@pytest.mark.parametrize("kind", ["hanging", "spinning"])
async def test_an_engine_without_life_is_restarted(start: Start, kind: str) -> None:
    supervisor = await start(kind, watchdog_s=0.3)
    with pytest.raises(EngineDeadError):
        await asyncio.wait_for(tokens_of(supervisor, request()), PATIENCE_S)
    await becomes(lambda: supervisor.state == "ready")


async def test_an_engine_that_is_stopped_is_restarted(start: Start) -> None:
    supervisor = await start("slow", watchdog_s=1.5)
    answers = await supervisor.submit([request(max_tokens=200)])
    assert supervisor.process_id is not None
    os.kill(supervisor.process_id, signal.SIGSTOP)
    with pytest.raises(EngineDeadError):
        await asyncio.wait_for(drained(answers), PATIENCE_S)
    assert await tokens_of(supervisor, request("next"))
    assert supervisor._link is not None
    assert supervisor._link.num_in_flight == 0


async def test_a_long_step_that_computes_is_believed(start: Start) -> None:
    supervisor = await start("computing", watchdog_s=1.5)
    assert await tokens_of(supervisor, request())
    assert supervisor.num_restarts == 0


async def test_only_starts_that_fail_are_waited_for(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []

    real_sleep = asyncio.sleep

    async def sleep(seconds: float) -> None:
        if seconds < 0.5:
            await real_sleep(seconds)
            return
        waits.append(seconds)
        if len(waits) == 3:
            monkeypatch.setattr(supervisor, "_command", COMMAND)

    async def killed(num_restarts: int) -> None:
        assert supervisor.process_id is not None
        os.kill(supervisor.process_id, signal.SIGKILL)
        await becomes(
            lambda: supervisor.num_restarts == num_restarts and supervisor.state == "ready"
        )

    supervisor = await start("good")
    monkeypatch.setattr("asyncio.sleep", sleep)
    for restarts in range(1, 4):
        await killed(restarts)
    assert waits == []
    monkeypatch.setattr(supervisor, "_command", ("/bin/false",))
    await killed(7)
    assert waits == [0.5, 1.0, 2.0]


async def test_who_comes_while_there_is_no_engine_waits_a_bounded_time(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor = await start("good", restart_wait_s=0.1)
    monkeypatch.setattr(supervisor, "_command", ("/bin/false",))
    assert supervisor.process_id is not None
    os.kill(supervisor.process_id, signal.SIGKILL)
    await becomes(lambda: supervisor.state == "restarting")
    with pytest.raises(EngineRestartingError):
        await tokens_of(supervisor, request())
    monkeypatch.setattr(supervisor, "_command", COMMAND)
    await becomes(lambda: supervisor.state == "ready")


@pytest.mark.parametrize(
    ("kind", "error", "says"),
    [
        ("broken", CheckpointError, "truncated. Fetch it again"),
        ("bug", UnisonoError, "ZeroDivisionError"),
        ("killed", EngineDeadError, "status -9"),
        ("babbling", EngineDeadError, "while it loaded"),
    ],
)
async def test_why_an_engine_does_not_start(
    start: Start, kind: str, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        await start(kind)


async def test_the_engine_process_gets_no_keys_and_ends_with_us(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNISONO_API_KEY", "a-secret-of-ours")
    supervisor = await start()
    pid = supervisor.process_id
    assert b"a-secret" not in Path(f"/proc/{pid}/environ").read_bytes()
    assert b"a-secret" not in Path(f"/proc/{pid}/cmdline").read_bytes()
    await supervisor.stop()
    assert not Path(f"/proc/{pid}").exists()
    assert supervisor.state == "stopped"
