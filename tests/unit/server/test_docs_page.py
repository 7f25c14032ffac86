"""The page about the server's routes."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser

import httpx

from unisono.server.docs_page import docs_page


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.links: list[str | None] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.links += [value for name, value in attrs if name in ("href", "src")]


async def test_all_routes_are_on_it_and_nothing_is_loaded(client: httpx.AsyncClient) -> None:
    answer = await client.get("/docs")
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; style-src")
    tags = Tags(answer.text)
    assert not tags.names & {"script", "link", "img", "iframe", "form"}
    assert tags.links == ["openapi.json"]
    document = (await client.get("/openapi.json")).json()
    shown = re.sub(r"<[^>]*>", "", answer.text)
    for path, operations in document["paths"].items():
        for method in operations:
            assert f"{method.upper()}{path}" in shown
    assert "max_completion_tokens" in shown


async def test_it_needs_the_key(make_client: Callable[..., httpx.AsyncClient]) -> None:
    async with make_client(key=None) as client:
        for path in ("/docs", "/version", "/api/version"):
            assert (await client.get(path)).status_code == 401


def test_text_is_text() -> None:
    document = {
        "info": {"title": "<b>", "version": "1"},
        "paths": {"/<i>": {"get": {"summary": "<script>", "parameters": [{"name": "<u>"}]}}},
    }
    assert not Tags(docs_page(document)).names & {"b", "i", "u", "script"}


async def test_version(client: httpx.AsyncClient) -> None:
    assert (await client.get("/version")).json() == (await client.get("/api/version")).json()
