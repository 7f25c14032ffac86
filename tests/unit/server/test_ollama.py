"""Ollama's answers, whole and in lines, from an engine that says what the prompt says."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from echo_client import CALL, THOUGHT, echo_client, thinking_tokenizer
from server_fakes import LocalHost

from unisono.server.ollama.chat_messages import chat_messages
from unisono.server.ollama.ollama_response import ChatLine, GenerateLine, ShownModel
from unisono.server.settings import ServerSettings
from unisono.text import Tokenizer

TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
COUNTS = ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return thinking_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture
async def client(
    host: LocalHost, tokenizer: Tokenizer, settings: Callable[..., ServerSettings]
) -> AsyncIterator[httpx.AsyncClient]:
    async with echo_client(host, tokenizer, settings) as found:
        yield found


def chat(text: str, **fields: Any) -> dict[str, Any]:
    return {"model": "echo:latest", "messages": [{"role": "user", "content": text}], **fields}


async def whole(client: httpx.AsyncClient, text: str, **fields: Any) -> dict[str, Any]:
    answer = await client.post("/api/chat", json=chat(text, stream=False, **fields))
    assert answer.status_code == 200, answer.text
    ChatLine.model_validate_json(answer.content)
    line: dict[str, Any] = answer.json()
    return line


async def lines(client: httpx.AsyncClient, text: str, **fields: Any) -> list[dict[str, Any]]:
    answer = await client.post("/api/chat", json=chat(text, **fields))
    assert answer.headers["content-type"] == "application/x-ndjson"
    found = [json.loads(line) for line in answer.text.splitlines()]
    for line in found:
        ChatLine.model_validate(line)
    assert [line["done"] for line in found] == [False] * (len(found) - 1) + [True]
    return found


async def test_a_chat(client: httpx.AsyncClient) -> None:
    line = await whole(client, THOUGHT + "Hi")
    assert line["message"] == {"role": "assistant", "thinking": "Hm.", "content": "Hi"}
    assert (line["model"], line["done"], line["done_reason"]) == ("echo:latest", True, "stop")
    assert (line["prompt_eval_count"], line["eval_count"]) == (21, 21)
    assert all(isinstance(line[name], int) and line[name] > 0 for name in COUNTS)
    assert line["created_at"].endswith("Z")
    cut = await whole(client, "Hello", options={"num_predict": 2})
    assert (cut["message"]["content"], cut["done_reason"]) == ("He", "length")


async def test_lines_are_the_same(client: httpx.AsyncClient) -> None:
    given = f"{THOUGHT}One.{CALL}"
    found = await lines(client, given, tools=TOOLS)
    whole_line = await whole(client, given, tools=TOOLS)
    said: dict[str, Any] = {"thinking": "", "content": ""}
    calls = []
    for line in found:
        said = {name: text + line["message"].get(name, "") for name, text in said.items()}
        calls += line["message"].get("tool_calls", ())
    assert said == {"thinking": "Hm.", "content": "One."}
    assert [call["function"] for call in calls] == [
        {"index": 0, "name": "f", "arguments": {"c": "é"}}
    ]
    assert whole_line["message"] | {"tool_calls": calls} == {
        "role": "assistant",
        "tool_calls": calls,
        **said,
    }
    assert found[-1]["done_reason"] == whole_line["done_reason"] == "stop"
    assert found[-1]["eval_count"] == whole_line["eval_count"]


async def test_a_call_that_breaks_off_is_text(client: httpx.AsyncClient) -> None:
    """A client would call it with what is left of its arguments."""
    line = await whole(client, CALL, tools=TOOLS, options={"num_predict": len(CALL) - 14})
    assert "tool_calls" not in line["message"]
    assert line["message"]["content"].startswith('{"c":')
    assert line["done_reason"] == "length"


async def test_log_probabilities(client: httpx.AsyncClient) -> None:
    options = {"num_predict": 4}
    line = await whole(client, "Héllo", logprobs=True, top_logprobs=2, options=options)
    assert len(line["logprobs"]) == 4
    assert len(line["logprobs"][0]["top_logprobs"]) == 2
    found = await lines(client, "Héllo", logprobs=True, top_logprobs=2, options=options)
    assert [one for each in found for one in each.get("logprobs", ())] == line["logprobs"]


async def test_a_prompt(client: httpx.AsyncClient) -> None:
    body = {"prompt": THOUGHT + "Hi", "stream": False}
    line = (await client.post("/api/generate", json=body)).json()
    GenerateLine.model_validate(line)
    assert (line["thinking"], line["response"], line["done_reason"]) == ("Hm.", "Hi", "stop")
    raw = {"prompt": "ab", "raw": True, "options": {"num_predict": 3}, "logprobs": True}
    answer = await client.post("/api/generate", json=raw)
    found = [json.loads(line) for line in answer.text.splitlines()]
    assert "".join(line["response"] for line in found) == "aba"
    assert len([one for line in found for one in line.get("logprobs", ())]) == 3
    assert found[-1]["done_reason"] == "length"


async def test_options_are_those_of_sampling(client: httpx.AsyncClient, host: LocalHost) -> None:
    options = {
        "num_predict": -1, "temperature": 0.5, "top_k": 5, "top_p": 0.9, "min_p": 0.1, "seed": 3,
        "repeat_penalty": 1.5, "presence_penalty": 0.5, "frequency_penalty": 0.25, "stop": ["x"],
        "num_ctx": 4096, "num_gpu": 1, "repeat_last_n": -1, "typical_p": 1.0, "mirostat": 0,
        "no_such_option": 1,
    }  # fmt: skip
    await whole(client, "Hello", options=options)
    params = host.requests[-1].params
    assert (params.temperature, params.top_k, params.top_p, params.min_p) == (0.5, 5, 0.9, 0.1)
    assert (params.repetition_penalty, params.stop) == (1.5, ("x",))
    assert (params.presence_penalty, params.frequency_penalty) == (0.5, 0.25)
    assert (params.seed, params.max_tokens) == (3, None)


async def test_a_request_without_a_prompt_loads(client: httpx.AsyncClient) -> None:
    for path in ("/api/chat", "/api/generate"):
        line = (await client.post(path, json={"model": "echo"})).json()
        assert (line["done"], line["done_reason"]) == (True, "load")
        answer = await client.post(path, json={"model": "echo", "keep_alive": 0})
        assert "keeps its model loaded" in answer.json()["error"]


async def test_the_model_is_told(client: httpx.AsyncClient) -> None:
    (model,) = (await client.get("/api/tags")).json()["models"]
    assert (model["name"], model["details"]["format"]) == ("echo", "safetensors")
    (loaded,) = (await client.get("/api/ps")).json()["models"]
    assert (loaded["digest"], loaded["context_length"]) == (model["digest"], 256)
    shown = (await client.post("/api/show", json={"model": "echo"})).json()
    ShownModel.model_validate(shown)
    assert shown["capabilities"] == ["completion", "tools", "thinking"]
    assert "messages" in shown["template"]
    assert shown["model_info"]["model.context_length"] == 256
    assert (await client.get("/api/version")).json()["version"]
    answer = await client.post("/api/show", json={"model": "other"})
    assert (answer.status_code, list(answer.json())) == (404, ["error"])


@pytest.mark.parametrize("name", ["pull", "push", "create", "copy", "delete"])
async def test_other_models_are_refused(client: httpx.AsyncClient, name: str) -> None:
    method = "DELETE" if name == "delete" else "POST"
    answer = await client.request(method, f"/api/{name}", json={"model": "llama3"})
    assert answer.status_code == 400
    assert "started with" in answer.json()["error"]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"model": "other"}, "no such model"),
        ({"messages": [{"role": "user", "content": "a", "images": ["x"]}]}, "Images"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "assistant", "tool_calls": [5]}]}, "tool_calls"),
        ({"format": "xml"}, "format"),
        ({"format": {"type": "no such type"}}, "schema"),
        ({"think": "high"}, "think"),
        ({"think": False}, "switch"),
        ({"options": {"temperature": "hot"}}, "options.temperature"),
        ({"options": {"num_predict": "many"}}, "options.num_predict"),
        ({"options": {"mirostat": 1}}, "mirostat"),
        ({"options": {"repeat_penalty": 1.1, "repeat_last_n": 64}}, "repeat_last_n"),
        ({"truncate": True}, "truncate"),
        ({"tools": 5}, "tools"),
        ({"top_logprobs": 99, "logprobs": True}, "top_logprobs"),
    ],
)
async def test_what_is_wrong_is_said_in_its_shape(
    client: httpx.AsyncClient, fields: dict[str, Any], says: str
) -> None:
    answer = await client.post("/api/chat", json=chat("a") | fields)
    assert answer.status_code in (400, 404), answer.text
    assert list(answer.json()) == ["error"]
    assert says in answer.json()["error"]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"context": [1]}, "context"),
        ({"template": "x"}, "template"),
        ({"images": ["x"]}, "Images"),
        ({"raw": True, "system": "s"}, "system"),
    ],
)
async def test_what_is_wrong_with_a_prompt(
    client: httpx.AsyncClient, fields: dict[str, Any], says: str
) -> None:
    answer = await client.post("/api/generate", json={"prompt": "a", **fields})
    assert (answer.status_code, says in answer.json()["error"]) == (400, True)


async def test_a_foreign_page_is_refused(
    host: LocalHost, tokenizer: Tokenizer, settings: Callable[..., ServerSettings]
) -> None:
    async with echo_client(host, tokenizer, lambda: settings(api_keys=())) as client:
        answer = await client.post(
            "/api/chat", json=chat("a"), headers={"origin": "https://evil.example"}
        )
        assert answer.status_code == 403
        assert not host.requests


def test_results_get_the_ids_of_their_calls() -> None:
    call = {"function": {"name": "f", "arguments": {"a": 1}}}
    other = {"function": {"name": "g", "arguments": {}}}
    messages = chat_messages(
        [
            {"role": "assistant", "content": "", "thinking": "Hm.", "tool_calls": [call, other]},
            {"role": "tool", "content": "of g", "tool_name": "g"},
            {"role": "tool", "content": "of f"},
            {"role": "assistant", "tool_calls": [{"id": "x", **call}]},
            {"role": "tool", "content": "again", "tool_call_id": "x"},
        ]
    )
    ids = [one["id"] for one in messages[0]["tool_calls"]]
    assert [message.get("tool_call_id") for message in messages[1:]] == [
        *(ids[1], ids[0], None, "x")
    ]
    assert messages[0]["reasoning_content"] == "Hm."
    assert len(ids[0]) == 9
