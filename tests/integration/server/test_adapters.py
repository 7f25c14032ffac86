"""Adapters behind HTTP: asked by their names, loaded and removed while the server runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from server_process import RunningServer, start_server

from tests import adapters
from tests.waiting import until

GREEDY = {"temperature": 0, "max_tokens": 8, "ignore_eos": True}
MODULES = {
    f"model.layers.{layer}.self_attn.{name}": (64, 64)
    for layer in (0, 1)
    for name in ("q_proj", "o_proj")
}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("adapters")
    for seed, name in enumerate(("sql", "allowed/chat", "allowed/other", "outside")):
        adapters.write(root / name, MODULES, rank=2 + seed, seed=seed)
    (root / "allowed" / "link").symlink_to(root / "outside")
    hidden = root / "allowed" / "hidden"
    hidden.mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (hidden / name).symlink_to(root / "outside" / name)
    (root / "allowed" / "empty").mkdir()
    adapters.write(root / "allowed" / "wide", {next(iter(MODULES)): (64, 60)}, rank=2, seed=9)
    return root


@pytest.fixture(scope="module")
def adapted(
    places: Path, model_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    running = start_server(
        model_folder,
        tmp_path_factory.mktemp("log") / "server.log",
        adapters=(("sql", str(places / "sql")),),
        adapters_dir=str(places / "allowed"),
        engine={"max_adapters": 3},
    )
    yield running
    running.stop()


@pytest.fixture
def http(adapted: RunningServer) -> Iterator[httpx.Client]:
    with adapted.client() as client:
        yield client


def completion(http: httpx.Client, model: str | None, **fields: Any) -> dict[str, Any]:
    body = {"model": model, "prompt": "SELECT", **GREEDY, "logprobs": 0, **fields}
    response = http.post("/v1/completions", json=body)
    assert response.status_code == 200, response.text
    return response.json()


def text(http: httpx.Client, model: str | None) -> str:
    return completion(http, model)["choices"][0]["text"]


def load(http: httpx.Client, name: str, path: str) -> httpx.Response:
    return http.post("/v1/load_lora_adapter", json={"lora_name": name, "lora_path": path})


def unload(http: httpx.Client, name: str) -> httpx.Response:
    return http.post("/v1/unload_lora_adapter", json={"lora_name": name})


def error_of(response: httpx.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    return response.json()["error"]


def test_every_route_takes_it_as_model(http: httpx.Client) -> None:
    assert completion(http, "sql")["model"] == "sql"
    assert completion(http, "tiny")["model"] == "tiny"
    assert text(http, "sql") != text(http, "tiny") == text(http, None)
    messages = [{"role": "user", "content": "hi"}]
    answers = {}
    for model in ("sql", "tiny"):
        body = {"model": model, "messages": messages, **GREEDY}
        chat = http.post("/v1/chat/completions", json=body).json()
        message = http.post("/v1/messages", json={**body, "model": model}).json()
        given = {"model": model, "input": "hi", "temperature": 0, "max_output_tokens": 8}
        response = http.post("/v1/responses", json=given).json()
        assert chat["model"] == message["model"] == response["model"] == model
        ollama = http.post("/api/generate", json={"model": model, "prompt": "a", "stream": False})
        assert ollama.json()["model"] == model
        content = chat["choices"][0]["message"]["content"]
        answers[model] = content
        assert content == "".join(part["text"] for part in message["content"])
    assert answers["sql"] != answers["tiny"]
    tokens = http.post("/tokenize", json={"model": "sql", "prompt": "a"})
    assert tokens.status_code == 200


def test_it_is_listed_with_its_parent(http: httpx.Client) -> None:
    cards = {card["id"]: card for card in http.get("/v1/models").json()["data"]}
    assert cards["sql"]["parent"] == "tiny"
    assert cards["tiny"]["parent"] is None
    assert http.get("/v1/models/sql").json() == cards["sql"]
    tags = http.get("/api/tags").json()["models"]
    assert {tag["name"] for tag in tags} == {"sql", "tiny"}
    document = http.get("/openapi.json").json()
    names = document["components"]["schemas"]["ChatRequest"]["properties"]["model"]["enum"]
    assert "sql" in names


def test_unknown_names(http: httpx.Client) -> None:
    response = http.post("/v1/completions", json={"model": "nosql", "prompt": "a"})
    assert "'tiny', 'sql'" in error_of(response, 404)["message"]


def test_loaded_and_removed(http: httpx.Client) -> None:
    response = load(http, "chat", "chat")
    assert response.status_code == 200
    assert response.text == "Success: LoRA adapter 'chat' added successfully."
    with_chat = text(http, "chat")
    assert with_chat not in (text(http, "tiny"), text(http, "sql"))
    assert "already" in error_of(load(http, "chat", "other"), 400)["message"]
    assert unload(http, "chat").status_code == 200
    error_of(http.post("/v1/completions", json={"model": "chat", "prompt": "a"}), 404)
    assert load(http, "chat", "other").status_code == 200
    assert text(http, "chat") != with_chat
    assert unload(http, "chat").status_code == 200
    assert error_of(unload(http, "chat"), 404)["code"] == "adapter_not_found"


def test_removed_while_it_streams(http: httpx.Client) -> None:
    assert load(http, "chat", "chat").status_code == 200
    body = {"model": "chat", "prompt": "SELECT", **GREEDY, "max_tokens": 300}
    expected = http.post("/v1/completions", json=body).json()["choices"][0]["text"]
    pieces = []
    with http.stream("POST", "/v1/completions", json={**body, "stream": True}) as stream:
        for line in stream.iter_lines():
            if not line.startswith("data: {"):
                continue
            pieces.append(json.loads(line[6:])["choices"][0]["text"])
            if len(pieces) == 1:
                assert unload(http, "chat").status_code == 200
                assert load(http, "chat", "other").status_code == 200
    assert "".join(pieces) == expected
    assert unload(http, "chat").status_code == 200


@pytest.mark.parametrize(
    "path", ["../outside", "/etc", "link", "hidden", ".", "", "a\0b", "chat/../../outside"]
)
def test_no_path_leaves_the_folder(path: str, http: httpx.Client) -> None:
    error = error_of(load(http, "bad", path), 400)
    assert error["param"] == "lora_path"
    assert "outside" not in error["message"]


def test_bad_adapters_are_named(http: httpx.Client, places: Path) -> None:
    missing = error_of(load(http, "bad", "empty"), 400)
    assert missing["message"].startswith("empty has no adapter_config.json")
    assert error_of(load(http, "bad", "nowhere"), 400)["code"] == "invalid_adapter"
    wide = error_of(load(http, "bad", "wide"), 400)["message"]
    assert "has shape [2, 60]" in wide
    assert str(places) not in wide
    for name in ("tiny", "sql"):
        assert error_of(load(http, name, "chat"), 400)["param"] == "lora_name"
    assert "no name" in error_of(load(http, "a b", "chat"), 400)["message"]
    assert error_of(http.post("/v1/load_lora_adapter", json={"lora_name": "x"}), 400)
    assert text(http, "sql")


def test_too_many(http: httpx.Client) -> None:
    for name in ("one", "two"):
        assert load(http, name, "chat").status_code == 200
    assert "as may be: 3" in error_of(load(http, "three", "chat"), 400)["message"]
    for name in ("one", "two"):
        assert unload(http, name).status_code == 200


def test_a_new_engine_has_them(adapted: RunningServer, http: httpx.Client) -> None:
    expected = text(http, "sql")
    assert load(http, "chat", "chat").status_code == 200
    with_chat = text(http, "chat")
    adapted.kill_engine()
    body = {"model": "sql", "prompt": "SELECT", **GREEDY}
    until(lambda: http.post("/v1/completions", json=body).status_code == 200)
    assert text(http, "sql") == expected
    assert text(http, "chat") == with_chat
    assert unload(http, "chat").status_code == 200


def test_off_and_behind_the_key(client: httpx.Client, adapted: RunningServer) -> None:
    assert error_of(load(client, "x", "y"), 403)["code"] == "not_allowed"
    assert error_of(unload(client, "x"), 403)["code"] == "not_allowed"
    with adapted.client(key=None) as stranger:
        error_of(load(stranger, "x", "chat"), 401)
        error_of(unload(stranger, "sql"), 401)
