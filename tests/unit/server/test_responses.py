"""Responses, whole and streamed, from an engine that says what the prompt says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from echo_client import CALL, THOUGHT, client_of, echo_client, named_events, thinking_tokenizer
from server_fakes import KEY, LocalHost

from unisono.core import RequestOutput
from unisono.server.app import create_app
from unisono.server.responses.response_schema import ItemList, ResponseObject
from unisono.server.settings import ServerSettings
from unisono.text import Tokenizer

OTHER = "key-of-another-0001"
TOOLS = [{"type": "function", "name": "f", "parameters": {"type": "object"}}]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return thinking_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture
async def client(
    host: LocalHost, tokenizer: Tokenizer, settings: Callable[..., ServerSettings]
) -> AsyncIterator[httpx.AsyncClient]:
    async with echo_client(host, tokenizer, settings) as found:
        yield found


async def whole(client: httpx.AsyncClient, given: Any, **fields: Any) -> dict[str, Any]:
    answer = await client.post("/v1/responses", json={"model": "echo", "input": given, **fields})
    assert answer.status_code == 200, answer.text
    ResponseObject.model_validate_json(answer.content)
    response: dict[str, Any] = answer.json()
    return response


async def streamed(client: httpx.AsyncClient, given: Any, **fields: Any) -> list[dict[str, Any]]:
    answer = await client.post("/v1/responses", json={"input": given, "stream": True, **fields})
    events = named_events(answer.text)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    return events


def bare(output: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Items without the ids of this answer."""
    return [{k: v for k, v in item.items() if k not in ("id", "call_id")} for item in output]


def said_by(tokenizer: Tokenizer, host: LocalHost) -> str:
    """The prompt of the last request."""
    return tokenizer.decode(host.requests[-1].prompt_token_ids, skip_special_tokens=True)


async def test_a_response(client: httpx.AsyncClient) -> None:
    response = await whole(client, THOUGHT + "Hi", metadata={"a": "b"}, user="u", temperature=0.5)
    assert response["id"].startswith("resp_")
    assert (response["status"], response["error"]) == ("completed", None)
    thought, message = response["output"]
    assert thought["content"] == [{"type": "reasoning_text", "text": "Hm."}]
    assert message["content"] == [
        {"type": "output_text", "text": "Hi", "annotations": [], "logprobs": []}
    ]
    assert (message["role"], message["status"]) == ("assistant", "completed")
    usage = response["usage"]
    assert (usage["input_tokens"], usage["output_tokens"]) == (21, 21)
    assert usage["input_tokens_details"]["cached_tokens"] == 1
    assert 0 < usage["output_tokens_details"]["reasoning_tokens"] < 21
    assert (response["metadata"], response["user"]) == ({"a": "b"}, "u")
    assert (response["temperature"], response["top_p"]) == (0.5, 1.0)


async def test_a_response_that_its_tokens_end(client: httpx.AsyncClient) -> None:
    response = await whole(client, "Hello", max_output_tokens=2)
    assert response["status"] == response["output"][0]["status"] == "incomplete"
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}
    events = await streamed(client, "Hello", max_output_tokens=2)
    assert events[-1]["type"] == "response.incomplete"


async def test_a_stream_is_the_same_in_events(client: httpx.AsyncClient) -> None:
    given = f"{THOUGHT}One.{CALL}"
    events = await streamed(client, given, tools=TOOLS)
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    assert events[0]["response"]["output"] == []
    items: list[dict[str, Any]] = []
    said: list[str] = []
    for event in events[2:-1]:
        kind = event["type"].removeprefix("response.")
        if kind == "output_item.added":
            assert event["output_index"] == len(items)
            items.append(event["item"])
            said.append("")
            continue
        assert event["output_index"] == len(items) - 1
        item = items[-1]
        if kind == "output_item.done":
            assert event["item"]["id"] == item["id"]
            assert event["item"]["status"] == "completed"
            items[-1] = event["item"]
            continue
        assert event["item_id"] == item["id"]
        if kind.endswith("delta"):
            said[-1] += event["delta"]
        elif kind.endswith(("text.done", "arguments.done")):
            assert event.get("text", event.get("arguments")) == said[-1]
    assert said == ["Hm.", "One.", '{"c":"é"}']
    assert events[-1]["type"] == "response.completed"
    assert events[-1]["response"]["output"] == items
    response = await whole(client, given, tools=TOOLS)
    assert bare(response["output"]) == bare(items)
    assert response["usage"]["output_tokens"] == events[-1]["response"]["usage"]["output_tokens"]
    assert items[2]["call_id"] != items[2]["id"]


async def test_log_probabilities_are_of_the_text(client: httpx.AsyncClient) -> None:
    include = ["message.output_text.logprobs"]
    response = await whole(client, THOUGHT + "Hé", include=include, top_logprobs=2)
    (part,) = response["output"][1]["content"]
    assert len(part["logprobs"]) == len("Hé".encode())
    assert len(part["logprobs"][0]["top_logprobs"]) == 2
    events = await streamed(client, THOUGHT + "Hé", include=include, top_logprobs=2)
    deltas = [event for event in events if event["type"] == "response.output_text.delta"]
    assert [entry for event in deltas for entry in event["logprobs"]] == part["logprobs"]


async def test_an_answer_without_a_word_is_a_message(client: httpx.AsyncClient) -> None:
    response = await whole(client, "<|im_end|>")
    assert response["output"][0]["content"][0]["text"] == ""


async def test_a_second_turn_goes_on(
    client: httpx.AsyncClient, host: LocalHost, tokenizer: Tokenizer
) -> None:
    first = await whole(client, "One,", max_output_tokens=4, instructions="Not again. ")
    events = await streamed(client, " two", previous_response_id=first["id"], max_output_tokens=4)
    second = events[-1]["response"]
    third = await whole(client, "!", previous_response_id=second["id"], max_output_tokens=1)
    assert said_by(tokenizer, host) == "One,Not  twoOne,!"
    path = f"/v1/responses/{third['id']}"
    assert (await client.get(path)).json() == third
    listed = (await client.get(f"{path}/input_items?order=asc&limit=4")).json()
    ItemList.model_validate(listed)
    kinds = [(item["role"], item["content"][0]["text"]) for item in listed["data"]]
    assert kinds[0] == ("user", "One,")
    assert listed["has_more"]
    rest = await client.get(f"{path}/input_items?order=asc&after={listed['last_id']}")
    assert [item["content"][0]["text"] for item in rest.json()["data"]] == ["!"]
    assert not rest.json()["has_more"]
    assert (await client.get(f"{path}/input_items?after=x")).status_code == 400


async def test_items_are_referred_to(
    client: httpx.AsyncClient, host: LocalHost, tokenizer: Tokenizer
) -> None:
    first = await whole(client, THOUGHT + "One.")
    given = [
        *({"type": "item_reference", "id": item["id"]} for item in first["output"]),
        {"role": "user", "content": "Two."},
    ]
    second = await whole(client, given, max_output_tokens=1)
    assert said_by(tokenizer, host) == "One.Two."
    listed = (await client.get(f"/v1/responses/{second['id']}/input_items?order=asc")).json()
    assert listed["data"][:2] == first["output"]


async def test_a_failure_in_a_stream_is_its_last_event(
    client: httpx.AsyncClient, host: LocalHost
) -> None:
    host.engine.step = failing_at(host, 4)  # type: ignore[method-assign]
    events = await streamed(client, "Hello there")
    kinds = [event["type"] for event in events]
    assert kinds[-2:] == ["response.output_item.done", "response.failed"]
    response = events[-1]["response"]
    assert (response["status"], response["error"]["code"]) == ("failed", "server_error")
    assert response["output"][0]["status"] == "incomplete"
    assert (await client.get(f"/v1/responses/{response['id']}")).status_code == 404


def failing_at(host: LocalHost, num_steps: int) -> Callable[[], list[RequestOutput]]:
    """Steps of an engine that fails on every request, after a few."""
    step = host.engine.step

    def run() -> list[RequestOutput]:
        outputs = step()
        if host.num_steps >= num_steps:
            for output in outputs:
                output.finish_reason, output.error = "error", "secret"
                host.engine.abort(output.request_id)
        return outputs

    return run


async def test_what_is_deleted_or_was_never_stored_is_gone(client: httpx.AsyncClient) -> None:
    kept = await whole(client, "a", max_output_tokens=1)
    path = f"/v1/responses/{kept['id']}"
    cancelled = await client.post(f"{path}/cancel")
    assert (cancelled.status_code, cancelled.json()["error"]["code"]) == (400, "not_supported")
    deleted = await client.delete(path)
    assert deleted.json() == {"id": kept["id"], "object": "response", "deleted": True}
    assert (await client.delete(path)).status_code == 404
    passed = await whole(client, "a", max_output_tokens=1, store=False)
    assert passed["store"] is False
    for gone in (kept, passed):
        assert (await client.get(f"/v1/responses/{gone['id']}")).status_code == 404
        body = {"input": "b", "previous_response_id": gone["id"]}
        error = (await client.post("/v1/responses", json=body)).json()["error"]
        assert error["code"] == "previous_response_not_found"
        assert error["param"] == "previous_response_id"


async def test_what_is_stored_is_the_key_s_own(
    tokenizer: Tokenizer, settings: Callable[..., ServerSettings], tmp_path: Path
) -> None:
    """After a restart, too."""
    options: dict[str, Any] = {"store": tmp_path / "responses.db", "api_keys": (KEY, OTHER)}
    async with running(tokenizer, settings, KEY, **options) as mine:
        first = await whole(mine, "a", max_output_tokens=1)
    path = f"/v1/responses/{first['id']}"
    async with running(tokenizer, settings, OTHER, **options) as other:
        for method in ("GET", "DELETE"):
            assert (await other.request(method, path)).status_code == 404
        assert (await other.get(f"{path}/input_items")).status_code == 404
        body = {"input": "b", "previous_response_id": first["id"]}
        assert (await other.post("/v1/responses", json=body)).status_code == 400
    async with running(tokenizer, settings, KEY, **options) as mine:
        assert (await mine.get(path)).json() == first
        await whole(mine, "b", previous_response_id=first["id"])


@asynccontextmanager
async def running(
    tokenizer: Tokenizer, settings: Callable[..., ServerSettings], key: str, **options: Any
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a server that ends with it."""
    app = create_app(settings(**options), LocalHost(), tokenizer)
    async with client_of(app, key) as found:
        yield found
    app.state.service.close()


async def test_tokens_are_counted(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/responses/input_tokens", json={"input": "Hello"})
    assert answer.json() == {"object": "response.input_tokens", "input_tokens": 6}


async def test_an_engine_that_fails_is_told(client: httpx.AsyncClient, host: LocalHost) -> None:
    host.failure = RuntimeError("secret")
    answer = await client.post("/v1/responses", json={"input": "a"})
    assert answer.status_code == 500
    assert "secret" not in answer.text


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": [5]}, "input[0]"),
        ({"input": [{"type": "web_search_call"}]}, "input[0].type"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].id"),
        ({"input": [{"id": "msg_" + "0" * 24 + "_0"}]}, "input[0].id"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image"}]}]},
            "input[0].content[0]",
        ),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [{"type": "function_call_output", "output": ""}]}, "input[0].call_id"),
        ({"input": [{"role": "king", "content": "a"}]}, "input"),
        ({"input": [{"type": "reasoning", "encrypted_content": "x"}]}, None),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"temperature": "hot"}, "temperature"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"type": "mcp"}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": TOOLS, "tool_choice": "some"}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "file_search"}}, "tool_choice.type"),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "name": "g"}}, "tool_choice"),
        (
            {"tools": TOOLS, "tool_choice": {"type": "allowed_tools", "tools": [{"name": "g"}]}},
            "tool_choice.tools",
        ),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format.schema"),
        ({"text": {"verbosity": "low"}}, "text.verbosity"),
        ({"reasoning": {"effort": "high"}}, "reasoning.effort"),
        ({"reasoning": {"summary": "detailed"}}, "reasoning.summary"),
        ({"include": ["all"]}, "include[0]"),
        ({"background": True}, "background"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"truncation": "auto"}, "truncation"),
        ({"metadata": {"a": 5}}, "metadata.a"),
        ({"model": "other"}, "model"),
        ({"previous_response_id": "resp_x"}, "previous_response_id"),
    ],
)
async def test_what_is_wrong_is_named(
    client: httpx.AsyncClient, fields: dict[str, Any], param: str | None
) -> None:
    answer = await client.post("/v1/responses", json={"input": "a", **fields})
    assert answer.status_code in (400, 404), answer.text
    error = answer.json()["error"]
    assert error["param"] == (param or "input[0].encrypted_content")
    assert "messages" not in error["message"]
