"""Bodies that would cost much are counted, not made; what passes is what clients send."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
import tracemalloc
from collections.abc import Iterator

import pytest

from unisono.server.api_error import ApiError
from unisono.server.http.body_shape import ShapeLimits, check_shape
from unisono.server.http.shape_checker import ShapeChecker

LIMITS = ShapeLimits(depth=64, context=4096)
SIZE = 8 << 20

WORST = {
    "token ids": (b'{"prompt": [' + b"1," * (SIZE // 2) + b"1]}", "4194305 items"),
    "spread token ids": (b"[" + b"1 , " * 5000 + b"1]", "5001 items"),
    "empty lists": (b"[" + b"[]," * (SIZE // 3) + b"[]]", "lists and objects"),
    "short lists": (b"[" + b"[1,1]," * (SIZE // 6) + b"[1]]", "lists and objects"),
    "deep lists": (b"[" * (SIZE // 2) + b"]" * (SIZE // 2), "lists and objects"),
    "a little too deep": (b"[" * 65 + b"]" * 65, "64 levels"),
    "many keys": (b"{" + b'"a":1,' * (SIZE // 6) + b'"b":1}', "strings"),
    "many texts": (b"[" + b'"",' * (SIZE // 3) + b'""]', "strings"),
    "many messages": (
        b'{"messages": [' + b",".join([b'{"role":"user","content":"a"}'] * 65536) + b"]}",
        "strings",
    ),
    "huge logit_bias": (
        json.dumps({"logit_bias": {str(i): 1 for i in range(300_000)}}).encode(),
        "strings",
    ),
}


@pytest.mark.parametrize("name", WORST)
def test_the_worst_bodies_are_refused_for_little(name: str) -> None:
    body, says = WORST[name]
    started_s = time.process_time()
    with pytest.raises(ApiError, match=says) as caught:
        check_shape(body, LIMITS)
    assert time.process_time() - started_s < 3  # made into objects, some of these take longer
    assert caught.value.status == 400
    tracemalloc.start()
    with pytest.raises(ApiError):
        check_shape(body, LIMITS)
    assert tracemalloc.get_traced_memory()[1] < 4 * len(body) + (1 << 20)
    tracemalloc.stop()


@pytest.mark.parametrize(
    "value",
    [
        {"prompt": [1] * 4096},
        {"prompt": [[1] * 4000] * 60},
        {"prompt": "[1,2,3," * 20_000},
        {"prompt": '"\\"[{' * 20_000},
        {"messages": [{"role": "user", "content": "a, b" * 100}] * 4096},
        {"tools": [{"function": {"parameters": {str(i): {} for i in range(100)}}}] * 128},
    ],
)
def test_what_clients_send_passes(value: object) -> None:
    check_shape(json.dumps(value).encode(), LIMITS)


def test_the_error_of_a_long_list_says_how_long_the_context_is() -> None:
    with pytest.raises(ApiError, match="maximum context length is 4096 tokens") as caught:
        check_shape(b"[" + b"1," * 5000 + b"1]", LIMITS)
    assert caught.value.code == "context_length_exceeded"


@pytest.fixture
def checker() -> Iterator[ShapeChecker]:
    found = ShapeChecker()
    yield found
    found.close()


async def test_large_bodies_are_looked_at_elsewhere(checker: ShapeChecker) -> None:
    good = json.dumps({"prompt": "a" * 200_000}).encode()
    bad, says = WORST["token ids"]
    await asyncio.gather(*(checker.check(good, LIMITS) for _ in range(6)))
    for _ in range(2):
        with pytest.raises(ApiError, match=says) as caught:
            await checker.check(bad, LIMITS)
        assert caught.value.code == "context_length_exceeded"


async def test_a_process_that_was_killed_is_replaced(checker: ShapeChecker) -> None:
    body = json.dumps({"prompt": "a" * 200_000}).encode()
    await checker.check(body, LIMITS)
    started = [process for process in (checker._idle.get(), checker._idle.get()) if process]
    for process in started:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        checker._idle.put(process)
    await checker.check(body, LIMITS)


async def test_one_that_dies_over_a_body_twice_is_no_fault_of_the_client(
    checker: ShapeChecker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unisono.server.http.shape_checker._COMMAND", ("/bin/false",))
    with pytest.raises(ApiError) as caught:
        await checker.check(b" " * 200_000, LIMITS)
    assert (caught.value.status, caught.value.code) == (503, "body_check_failed")
