"""Texts go to the engine in waves, two at a time; whatever ends a run frees what it holds."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from unisono.core import Request, RequestOutput
from unisono.core.errors import EngineDeadError, RequestFailedError
from unisono.core.pooling import Pooling
from unisono.server.engine.answers import Answers
from unisono.server.metrics import Metrics
from unisono.server.pooling.running import PooledRun


class Waves:
    """Takes waves, and answers one when it is told."""

    def __init__(self) -> None:
        self.taken: list[tuple[Answers, Sequence[Request]]] = []
        self.released: list[str] = []

    async def submit(self, requests: Sequence[Request]) -> Answers:
        answers = Answers([request.id for request in requests], self.released.extend)
        self.taken.append((answers, requests))
        return answers

    def answer(self, wave: int, **fields: Any) -> None:
        answers, requests = self.taken[wave]
        for request in reversed(requests):
            output = RequestOutput(request.id, [], finish_reason="length", **fields)
            if not fields:
                output.pooled = bytes(request.prompt_token_ids)
            answers.push(output)


@pytest.fixture
def waves() -> Waves:
    return Waves()


@pytest.fixture
def run(waves: Waves) -> PooledRun:
    metrics = Metrics(dict, lambda: 0)
    return PooledRun(engine=waves, metrics=metrics, name="x", wave=2)  # type: ignore[arg-type]


def start(run: PooledRun, count: int) -> asyncio.Task[list[bytes]]:
    return asyncio.create_task(run.numbers([[index] for index in range(count)], Pooling()))


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_two_waves_are_in_flight(run: PooledRun, waves: Waves) -> None:
    task = start(run, 5)
    await settle()
    assert [len(requests) for _, requests in waves.taken] == [2, 2]
    waves.answer(1)
    await settle()
    assert len(waves.taken) == 2
    waves.answer(0)
    await settle()
    assert len(waves.taken) == 3
    waves.answer(2)
    assert await task == [bytes([index]) for index in range(5)]
    run.close()
    assert not waves.released


async def test_a_text_that_fails(run: PooledRun, waves: Waves) -> None:
    task = start(run, 5)
    await settle()
    waves.answer(0, error="not finite")
    with pytest.raises(RequestFailedError):
        await task
    run.close()
    assert sorted(waves.released) == ["x-2", "x-3"]


async def test_an_engine_that_dies(run: PooledRun, waves: Waves) -> None:
    task = start(run, 3)
    await settle()
    for answers, _ in waves.taken:
        answers.fail(EngineDeadError("gone"))
    with pytest.raises(EngineDeadError):
        await task


async def test_a_client_that_leaves(run: PooledRun, waves: Waves) -> None:
    task = start(run, 5)
    await settle()
    task.cancel()
    run.close()
    assert sorted(waves.released) == ["x-0", "x-1", "x-2", "x-3"]
