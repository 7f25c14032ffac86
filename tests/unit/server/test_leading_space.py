"""SentencePiece writes the space in front of a word into its token: the first of an answer is kept
where the answer goes on in a text, and dropped where it begins one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from server_fakes import KEY, LocalHost

from tests.vocabularies import spm_llama
from unisono.server.app import create_app
from unisono.text import Tokenizer


@pytest.fixture
def spaced(tmp_path: Path, settings: Any) -> httpx.AsyncClient:
    """A server whose engine answers with the prompt's own tokens."""
    folder = spm_llama(tmp_path)
    (folder / "chat_template.jinja").write_text("{{ messages[-1].content }}")
    app = create_app(settings(model_folder=folder), LocalHost(), Tokenizer.load(folder))
    headers = {"authorization": f"Bearer {KEY}"}
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers)


@pytest.mark.parametrize(
    ("role", "continues", "text"), [("user", False, "Hello the"), ("assistant", True, " Hello the")]
)
async def test_chat(spaced: httpx.AsyncClient, role: str, continues: bool, text: str) -> None:
    body = {
        "model": "echo",
        "messages": [{"role": role, "content": "Hello the"}],
        "max_tokens": 2,
        "continue_final_message": continues,
    }
    response = await spaced.post("/v1/chat/completions", json=body)
    assert response.json()["choices"][0]["message"]["content"] == text


async def test_completion(spaced: httpx.AsyncClient) -> None:
    body = {"model": "echo", "prompt": "Hello the", "max_tokens": 2}
    response = await spaced.post("/v1/completions", json=body)
    assert response.json()["choices"][0]["text"].startswith(" Hello")
