from __future__ import annotations

import asyncio
from typing import Any

import pytest

from unisono.core import Request, RequestOutput, SamplingParams
from unisono.core.frames import encode_frame
from unisono.server.engine.answers import Answers
from unisono.server.engine.link import EngineLink
from unisono.server.engine.wire import Step


def submit(link: EngineLink, name: str) -> Answers:
    request = Request(id=name, prompt_token_ids=(1,), params=SamplingParams())
    return link.submit([request])


def step(*tokens: tuple[str, int], finish: Any = None) -> bytes:
    outputs = [RequestOutput(name, [token], finish_reason=finish) for name, token in tokens]
    return encode_frame(Step(outputs, [], None))


async def tokens(answers: Answers) -> list[int]:
    return [token for output in await answers.__anext__() for token in output.token_ids]


async def test_readers_get_every_step() -> None:
    link = EngineLink(asyncio.get_running_loop())
    names = [str(i) for i in range(40)]
    readers = [submit(link, name) for name in names]
    for token in range(3):
        link.data_received(step(*((name, token) for name in names)))
        assert [await tokens(reader) for reader in readers] == [[token]] * 40
    for token in (3, 4):
        link.data_received(step(*((name, token) for name in names)))
    assert await tokens(readers[0]) == [3, 4]
    link.data_received(step(("1", 5), finish="length"))
    assert await tokens(readers[1]) == [3, 4, 5]


async def test_an_engine_that_is_not_understood_is_left() -> None:
    link = EngineLink(asyncio.get_running_loop())
    reader = submit(link, "a")
    link.data_received(b"\xff" * 100)
    link.connection_lost(None)
    with pytest.raises(Exception, match="ended"):
        await reader.__anext__()
    with pytest.raises(Exception, match="ended"):
        submit(link, "b")
