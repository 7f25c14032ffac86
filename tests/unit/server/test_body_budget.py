"""Bodies in flight share a number of bytes, and slow ones do not keep others out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from server_fakes import LocalHost

from unisono.server.http.body_reader import BodyAccount, BodyBudget
from unisono.server.settings import Limits


def arriving(budget: BodyBudget, tenant: str, num_bytes: int) -> BodyAccount:
    account = budget.open_account(tenant)
    account.drop_body = lambda: None
    assert account.take(num_bytes)
    return account


def test_bytes_are_given_back_once() -> None:
    budget = BodyBudget(100)
    account = arriving(budget, "a", 60)
    account.close()
    account.close()
    assert budget.num_bytes == 0
    assert not account.take(1)


def test_the_slowest_gives_way_to_a_new_one() -> None:
    budget = BodyBudget(100)
    slow, next_slow = arriving(budget, "a", 40), arriving(budget, "a", 40)
    new = arriving(budget, "a", 50)
    assert (slow.was_dropped, next_slow.was_dropped, new.was_dropped) == (True, False, False)
    assert budget.num_bytes == 90


def test_a_body_that_is_complete_does_not_give_way() -> None:
    budget = BodyBudget(100)
    complete = arriving(budget, "a", 90)
    complete.drop_body = None
    assert not budget.open_account("b").take(20)
    assert not complete.was_dropped


def test_the_tenant_that_holds_most_gives_way() -> None:
    budget = BodyBudget(100)
    quiet = arriving(budget, "quiet", 30)
    greedy = [arriving(budget, "greedy", 30) for _ in range(2)]
    arriving(budget, "quiet", 30)
    assert not quiet.was_dropped
    assert [one.was_dropped for one in greedy] == [True, False]


async def test_a_full_server_says_when_to_come_back(
    make_client: Callable[..., httpx.AsyncClient],
) -> None:
    body = json.dumps({"model": "echo", "prompt": "a" * 3000}).encode()
    async with make_client(limits=Limits(bodies_bytes=2000)) as client:
        response = await client.post(
            "/v1/completions", content=body, headers={"content-type": "application/json"}
        )
        assert response.status_code == 503
        assert response.json()["error"]["code"] == "bodies_in_flight"
        assert response.headers["retry-after"]
        small = await client.post("/v1/completions", json={"prompt": "a", "max_tokens": 1})
        assert small.status_code == 200


async def test_nothing_is_held_when_requests_are_over(
    make_client: Callable[..., httpx.AsyncClient], host: LocalHost
) -> None:
    async with make_client() as client:
        app: Any = client._transport.app  # type: ignore[attr-defined]
        while not hasattr(app, "state"):
            app = app.app
        budget = app.state.service.bodies._budget
        host.delay_s = 0.02
        sent = asyncio.create_task(
            client.post("/v1/completions", json={"prompt": "a", "max_tokens": 50})
        )
        while not host.routes:
            await asyncio.sleep(0.005)
        assert budget.num_bytes == 0  # it is tokens by now
        await sent
        for wrong in ({"prompt": []}, {"prompt": "a", "n": 0}):
            assert (await client.post("/v1/completions", json=wrong)).status_code == 400
        assert budget.num_bytes == 0
        assert budget._open == {}


@pytest.mark.parametrize("route", ["/v1/completions", "/tokenize", "/detokenize"])
async def test_ids_beyond_the_context_are_refused_by_their_number(
    make_client: Callable[..., httpx.AsyncClient], host: LocalHost, route: str
) -> None:
    field = {"/detokenize": "tokens"}.get(route, "prompt")
    prompt = "a" * 5000 if route == "/tokenize" else [1] * 5000
    async with make_client() as client:
        response = await client.post(route, json={"model": "echo", field: prompt})
        error = response.json()["error"]
        assert response.status_code == 400
        assert error["code"] == "context_length_exceeded"
        assert "maximum context length is 256 tokens" in error["message"]
    assert not host.requests


async def test_a_text_that_may_be_cut_is_tokenized_up_to_a_bound(
    make_client: Callable[..., httpx.AsyncClient],
) -> None:
    async with make_client() as client:
        body = {"prompt": "a" * 1000, "truncate_prompt_tokens": 5, "max_tokens": 1}
        assert (await client.post("/v1/completions", json=body)).status_code == 200
        body["prompt"] = "a" * 100_000
        assert (await client.post("/v1/completions", json=body)).status_code == 400
