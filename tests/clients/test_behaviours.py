"""Behaviours that the tests of vLLM, llama.cpp and SGLang check, on two servers for all of them."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.clients.behaviours import around, chats, forms, messages, streams, texts  # noqa: F401
from tests.clients.behaviours.listing import BEHAVIOURS, Api, Behaviour
from tests.clients.behaviours.page import listed
from tests.clients.page import PAGE
from tests.clients.served import KEY, Served
from tests.waiting import PATIENCE_S


@pytest.fixture(scope="module")
def api(demo: Served, scripted: Served) -> Iterator[Api]:
    options = {"headers": {"authorization": f"Bearer {KEY}"}, "timeout": PATIENCE_S}
    with (
        httpx.Client(base_url=demo.url, **options) as real,
        httpx.Client(base_url=scripted.url, **options) as obeying,
    ):
        yield Api(real, obeying)


@pytest.mark.parametrize("behaviour", BEHAVIOURS, ids=lambda one: f"{one.topic}: {one.says}")
def test_behaviour(api: Api, behaviour: Behaviour) -> None:
    behaviour.check(api)


def test_the_page_lists_them() -> None:
    assert listed() in PAGE, "python -m tests.clients.behaviours.page"
