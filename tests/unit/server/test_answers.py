from __future__ import annotations

import asyncio

import pytest

from unisono.core import RequestOutput
from unisono.server.engine.answers import Answers


def output(name: str, token: int, finish: str | None = None) -> RequestOutput:
    return RequestOutput(name, [token], finish_reason=finish)  # type: ignore[arg-type]


async def test_what_has_arrived_comes_as_one_list() -> None:
    answers = Answers(["a", "b"], lambda names: None)
    answers.push(output("a", 1))
    answers.push(output("b", 2))
    assert [o.token_ids for o in await answers.__anext__()] == [[1], [2]]
    waiting = asyncio.create_task(answers.__anext__())
    await asyncio.sleep(0)
    answers.push(output("a", 3, "stop"))
    answers.push(output("b", 4, "length"))
    assert [o.token_ids for o in await waiting] == [[3], [4]]
    with pytest.raises(StopAsyncIteration):
        await answers.__anext__()


async def test_a_slow_reader_gets_several_tokens_at_once() -> None:
    answers = Answers(["a"], lambda names: None)
    answers.push(output("a", 1))
    answers.push(output("a", 2))
    answers.push(output("a", 3, "stop"))
    (found,) = await answers.__anext__()
    assert (found.token_ids, found.finish_reason) == ([1, 2, 3], "stop")


async def test_a_failure_comes_after_what_came_before_it() -> None:
    released: list[str] = []
    answers = Answers(["a", "b"], released.extend)
    answers.push(output("a", 1, "stop"))
    answers.fail(ValueError("no"))
    assert await answers.__anext__()
    with pytest.raises(ValueError, match="no"):
        await answers.__anext__()
    assert released == ["b"]


async def test_an_aborted_answer_says_no_more() -> None:
    released: list[str] = []
    answers = Answers(["a", "b"], released.extend)
    answers.abort("a")
    answers.abort("a")
    answers.push(output("a", 1))
    answers.push(output("b", 2, "stop"))
    assert [o.request_id for o in await answers.__anext__()] == ["b"]
    answers.close()
    assert released == ["a"]
