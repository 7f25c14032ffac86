"""Clients of a server whose engine says what the prompt says: reasoning and calls, too."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI
from server_fakes import KEY, LocalHost

from tests.byte_tokenizer import write_byte_tokenizer
from unisono.server.app import create_app
from unisono.server.settings import ServerSettings
from unisono.text import Tokenizer

TEMPLATE = (
    "{% for m in messages %}{{ m.content }}{% endfor %}"
    "{% if tools and false %}<tool_call></think>{% endif %}<|im_end|>"
)
THOUGHT = "<think>Hm.</think>"
CALL = '<tool_call>{"name":"f","arguments":{"c":"é"}}</tool_call>'


def thinking_tokenizer(folder: Path) -> Tokenizer:
    """Its template shows that the model thinks and calls tools."""
    write_byte_tokenizer(folder, TEMPLATE)
    return Tokenizer.load(folder)


def echo_client(
    host: LocalHost, tokenizer: Tokenizer, settings: Callable[..., ServerSettings]
) -> httpx.AsyncClient:
    return client_of(create_app(settings(), host, tokenizer))


def client_of(app: FastAPI, key: str = KEY) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    headers = {"authorization": f"Bearer {key}"}
    return httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers)


def named_events(text: str) -> list[dict[str, Any]]:
    """Events whose names are their types."""
    events = []
    for lines in text.split("\n\n")[:-1]:
        name, data = lines.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        events.append(event)
    return events
