"""Behaviours that the tests of other servers check, each with a check of its own for this one.

A topic is a file; ``@behaviour`` puts a check on the list, and docs/clients.md shows the list.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

Json = dict[str, Any]
V, L, S = "vLLM", "llama.cpp", "SGLang"
ABSENT, OTHERWISE = "not offered", "otherwise, by design"
"""States beside right: the server says that it does not do it; it does something else."""
HELLO = [{"role": "user", "content": "My parcel is lost."}]
SHORT: Json = {"max_tokens": 8, "temperature": 0}


@dataclass(frozen=True)
class Behaviour:
    topic: str
    says: str
    peers: tuple[str, ...]
    check: Callable[[Api], None]
    state: str = "right"


BEHAVIOURS: list[Behaviour] = []


class Topic:
    """A heading of the list."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, says: str, *peers: str, state: str = "right") -> Callable[[Any], Any]:
        def add(check: Callable[[Api], None]) -> Callable[[Api], None]:
            BEHAVIOURS.append(Behaviour(self.name, says, peers, check, state))
            return check

        return add

    def answered(self, says: str, path: str, fields: Json, *peers: str) -> None:
        self(says, *peers)(lambda api: api.post(path, _body(path, fields)))

    def refused(
        self, says: str, path: str, fields: Json, *peers: str, offered: bool = True
    ) -> None:
        def check(api: Api) -> None:
            error = api.refused(path, _body(path, fields))
            assert len(error["message"]) > 10

        self(says, *peers, state="right" if offered else ABSENT)(check)


def _body(path: str, fields: Json) -> Json:
    bodies: dict[str, Json] = {
        "/v1/chat/completions": {"messages": HELLO, **SHORT},
        "/v1/completions": {"prompt": "The parcel", **SHORT},
        "/v1/messages": {"messages": HELLO, "max_tokens": 8},
        "/v1/responses": {"input": "My parcel is lost.", "max_output_tokens": 16},
    }
    body = {**bodies.get(path, {}), **fields}
    return {name: value for name, value in body.items() if value is not ...}


@dataclass(frozen=True)
class Api:
    """The server with a real engine, and beside it the one whose model obeys."""

    client: httpx.Client
    obeying: httpx.Client = field(repr=False)

    def post(self, path: str, body: Any, status: int = 200) -> Any:
        response = self.client.post(path, json=body)
        assert response.status_code == status, response.text[:500]
        return response.json()

    def refused(self, path: str, body: Any, *statuses: int) -> Json:
        response = self.client.post(path, json=body)
        assert response.status_code in (statuses or (400, 404)), response.text[:500]
        return response.json()["error"]

    def chat(self, **fields: Any) -> Json:
        return self.post("/v1/chat/completions", _body("/v1/chat/completions", fields))

    def said(self, **fields: Any) -> str:
        return self.chat(**fields)["choices"][0]["message"]["content"]

    def text(self, **fields: Any) -> Json:
        return self.post("/v1/completions", _body("/v1/completions", fields))

    def stream(self, path: str, **fields: Any) -> list[Json]:
        return events(self.client, path, _body(path, {"stream": True, **fields}))

    def chunks(self, **fields: Any) -> list[Json]:
        return self.stream("/v1/chat/completions", **fields)

    def obey(self, text: str, path: str = "/v1/chat/completions", **fields: Any) -> Json:
        messages = fields.pop("messages", [{"role": "user", "content": text}])
        body = {"messages": messages, "max_tokens": 400, **fields}
        response = self.obeying.post(path, json=body)
        assert response.status_code == 200, response.text[:500]
        return response.json()

    def obeyed(self, text: str, path: str = "/v1/chat/completions", **fields: Any) -> list[Json]:
        body = {"messages": [{"role": "user", "content": text}], "max_tokens": 400, **fields}
        return events(self.obeying, path, {**body, "stream": True})


def events(client: httpx.Client, path: str, body: Json) -> list[Json]:
    """The events of a stream, without the mark of its end."""
    response = client.post(path, json=body)
    assert response.status_code == 200, response.text[:500]
    assert response.headers["content-type"].startswith("text/event-stream")
    lines = [line[6:] for line in response.text.splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def joined(chunks: list[Json], name: str = "content") -> str:
    """The pieces of a streamed chat, put together."""
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    return "".join(choice["delta"].get(name) or "" for choice in choices)
