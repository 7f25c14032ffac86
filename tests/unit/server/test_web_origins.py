"""Web pages: which may use a server, and how those that may not are kept from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from unisono.core.errors import ConfigError

MakeClient = Callable[..., httpx.AsyncClient]
KEYLESS: dict[str, Any] = {"key": None, "api_keys": ()}
BODY = '{"prompt": "a", "max_tokens": 1}'
JSON = {"content-type": "application/json"}
ASKS = {
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type,x-stainless-lang",
}
LOCAL = ["http://localhost:3000", "https://127.0.0.1", "http://[::1]:5173", "http://a.localhost"]
FOREIGN = [
    "https://evil.example",
    "http://localhost.evil.example",
    "http://127.0.0.1.evil.example",
    "null",
    "file://",
    "chrome-extension://abc",
    "http://0.0.0.0:8000",
    "http://192.168.1.5",
    "http://evil.example:80@localhost.evil",
    "ünï",
]


def code(response: httpx.Response) -> str:
    return str(response.json()["error"]["code"])


def allowed(response: httpx.Response) -> str | None:
    return response.headers.get("access-control-allow-origin")


@pytest.mark.parametrize("has_key", [False, True])
async def test_pages_of_this_machine_are_let_in(make_client: MakeClient, has_key: bool) -> None:
    async with make_client(**({} if has_key else KEYLESS)) as client:
        for origin in LOCAL:
            response = await client.post(
                "/v1/completions", content=BODY, headers={**JSON, "origin": origin}
            )
            assert response.status_code == 200, response.text
            assert allowed(response) == origin
            assert "origin" in response.headers["vary"].lower()
            assert "x-request-id" in response.headers["access-control-expose-headers"]


@pytest.mark.parametrize("origin", FOREIGN)
async def test_a_foreign_page_is_kept_from_a_server_without_keys(
    make_client: MakeClient, origin: str
) -> None:
    async with make_client(**KEYLESS) as client:
        named = {"origin": origin.encode()}
        for method, path in (("GET", "/health"), ("GET", "/v1/models"), ("POST", "/tokenize")):
            response = await client.request(method, path, headers=named)
            assert (response.status_code, code(response)) == (403, "origin_not_allowed")
            assert allowed(response) is None
        asked = await client.options("/v1/completions", headers={**ASKS, **named})
        assert asked.status_code == 403
        assert allowed(asked) is None


async def test_a_foreign_page_with_a_key_reads_nothing_without_leave(
    make_client: MakeClient,
) -> None:
    async with make_client() as client:
        headers = {**JSON, "origin": "https://evil.example"}
        response = await client.post("/v1/completions", content=BODY, headers=headers)
        assert response.status_code == 200
        assert allowed(response) is None
        assert allowed(await client.get("/health", headers=headers)) is None


@pytest.mark.parametrize("has_key", [False, True])
async def test_a_browser_that_asks_first_needs_no_key(
    make_client: MakeClient, has_key: bool
) -> None:
    options = {} if has_key else KEYLESS
    page = "https://chat.example.org"
    async with make_client(**{**options, "key": None, "cors_origins": (page,)}) as client:
        for path in ("/v1/chat/completions", "/v1/models", "/nothing"):
            response = await client.options(path, headers={**ASKS, "origin": page})
            assert response.status_code == 204, response.text
            assert not response.content
            assert allowed(response) == page
            headers = response.headers
            assert "POST" in headers["access-control-allow-methods"]
            assert "x-stainless-lang" in headers["access-control-allow-headers"]
            assert int(headers["access-control-max-age"]) > 0
            for name in ("Origin", "Access-Control-Request-Headers"):
                assert name in headers["vary"]
        local = {**ASKS, "origin": page, "access-control-request-private-network": "true"}
        response = await client.options("/v1/models", headers=local)
        assert response.headers["access-control-allow-private-network"] == "true"
        odd = {**ASKS, "origin": page, "access-control-request-headers": "a\tb; c"}
        response = await client.options("/v1/models", headers=odd)
        assert "authorization" in response.headers["access-control-allow-headers"]
        if has_key:
            assert (await client.options("/v1/models")).status_code == 401


async def test_all_pages_only_if_it_is_said(make_client: MakeClient) -> None:
    async with make_client(**KEYLESS, cors_origins=("*",)) as client:
        response = await client.get("/v1/models", headers={"origin": "https://any.example"})
        assert (response.status_code, allowed(response)) == (200, "*")
        assert allowed(await client.get("/v1/models")) is None


async def test_errors_can_be_read_by_a_page_too(make_client: MakeClient) -> None:
    async with make_client() as client:
        headers = {**JSON, "origin": LOCAL[0]}
        for path, content in (("/v1/completions", "{"), ("/nothing", BODY)):
            response = await client.post(path, content=content, headers=headers)
            assert response.status_code in (400, 404)
            assert allowed(response) == LOCAL[0]
        response = await client.get("/v1/models", headers={**headers, "authorization": "Bearer x"})
        assert (response.status_code, allowed(response)) == (401, LOCAL[0])


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", None]
)
async def test_a_page_sends_json_as_json(make_client: MakeClient, kind: str | None) -> None:
    async with make_client(**KEYLESS) as client:
        headers = {} if kind is None else {"content-type": kind}
        response = await client.post(
            "/v1/completions", content=BODY, headers={**headers, "origin": LOCAL[0]}
        )
        assert (response.status_code, code(response)) == (415, "unsupported_media_type")
        response = await client.post("/v1/completions", content=BODY, headers=headers)
        assert response.status_code == 200  # curl -d, without a word about the type


async def test_a_page_that_fetches_without_an_origin(make_client: MakeClient) -> None:
    async with make_client(**KEYLESS) as client:
        image = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}
        assert code(await client.get("/health", headers=image)) == "origin_not_allowed"
        link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
        assert (await client.get("/health", headers=link)).status_code == 200


OWN_HOSTS = ["localhost", "LOCALHOST:8000", "localhost.", "127.0.0.1:1", "127.9.9.9", "[::1]:80"]
OWN_HOSTS += ["a.localhost", "unisono", "unisono:8000", ""]
FOREIGN_HOSTS = ["evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.nip.io"]
FOREIGN_HOSTS += ["0.0.0.0", "192.168.1.5", "[2001:db8::1]", "localhost@evil.example", "evil.local"]


async def test_names_that_a_server_without_keys_goes_by(make_client: MakeClient) -> None:
    async with make_client(**KEYLESS) as client:
        for host in OWN_HOSTS:
            response = await client.get("/v1/models", headers={"host": host})
            assert response.status_code == 200, host
        for host in FOREIGN_HOSTS:
            for path in ("/v1/models", "/health", "/nothing"):
                response = await client.get(path, headers={"host": host})
                assert (response.status_code, code(response)) == (403, "host_not_allowed"), host


async def test_names_that_are_allowed(make_client: MakeClient) -> None:
    async with make_client(**KEYLESS, allowed_hosts=("llm.lan", "10.1.2.3")) as client:
        for host, status in (("LLM.lan:80", 200), ("10.1.2.3", 200), ("evil.example", 403)):
            assert (await client.get("/health", headers={"host": host})).status_code == status
        own = {"host": "llm.lan:8000", "origin": "http://llm.lan:8000"}
        assert (await client.get("/v1/models", headers=own)).status_code == 200
    async with make_client(**KEYLESS, allowed_hosts=("*",)) as client:
        assert (await client.get("/health", headers={"host": "a.b"})).status_code == 200
    async with make_client(allowed_hosts=("llm.lan",)) as client:
        assert (await client.get("/v1/models", headers={"host": "evil.example"})).status_code == 403
    async with make_client() as client:
        assert (await client.get("/v1/models", headers={"host": "any.example"})).status_code == 200


async def test_a_server_for_the_network_goes_by_its_addresses(make_client: MakeClient) -> None:
    async with make_client(**KEYLESS, host="0.0.0.0", insecure=True) as client:
        for host, status in (("192.168.1.5:80", 200), ("[2001:db8::1]", 200), ("evil.com", 403)):
            assert (await client.get("/health", headers={"host": host})).status_code == status


@pytest.mark.parametrize("origin", ["chat.example.org", "https://", "https://a/b", ""])
def test_an_origin_is_written_as_browsers_do(settings: Callable[..., Any], origin: str) -> None:
    with pytest.raises(ConfigError, match="origin"):
        settings(cors_origins=(origin,))
