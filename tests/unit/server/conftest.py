from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.byte_tokenizer import write_byte_tokenizer
from unisono.server.app import create_app
from unisono.server.settings import ServerSettings
from unisono.text import Tokenizer

sys.path.insert(0, str(Path(__file__).parent))

from server_fakes import CHAT_TEMPLATE, KEY, LocalHost


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_byte_tokenizer(folder, CHAT_TEMPLATE)
    return folder


@pytest.fixture(scope="session")
def tokenizer(tokenizer_folder: Path) -> Tokenizer:
    return Tokenizer.load(tokenizer_folder)


@pytest.fixture
def host() -> LocalHost:
    return LocalHost()


@pytest.fixture
def settings(tokenizer_folder: Path) -> Callable[..., ServerSettings]:
    def make(**options: Any) -> ServerSettings:
        return ServerSettings(
            **{
                "model_folder": tokenizer_folder,
                "model_name": "echo",
                "api_keys": (KEY,),
                **options,
            }
        )

    return make


@pytest.fixture
def make_client(
    host: LocalHost, tokenizer: Tokenizer, settings: Callable[..., ServerSettings]
) -> Callable[..., httpx.AsyncClient]:
    """A client of an application over the echo engine; options are of ``ServerSettings``."""

    def make(key: str | None = KEY, **options: Any) -> httpx.AsyncClient:
        app = create_app(settings(**options), host, tokenizer)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        headers = {"authorization": f"Bearer {key}"} if key else {}
        return httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers)

    return make


@pytest.fixture
async def client(make_client: Callable[..., httpx.AsyncClient]) -> AsyncIterator[httpx.AsyncClient]:
    async with make_client() as found:
        yield found
