"""Fields about tokens: what is shown of them, which may come, and how much of a prompt is kept."""

from __future__ import annotations

import json
from itertools import chain
from typing import Any

import httpx
import pytest
from server_fakes import CONTEXT, EOS, LocalHost

from unisono.server.openai.chat import ChatRenderer
from unisono.server.openai.completions import CompletionRenderer
from unisono.server.openai.generation import Usage
from unisono.server.openai.prompts import Prompt
from unisono.server.openai.request_schema import ChatRequest, CompletionRequest
from unisono.server.openai.response_schema import ChatCompletion, Completion
from unisono.text import AnswerDelta, Content, Tokenizer


def chat(text: str = "Hello", **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], **fields}


LETTER_I = 72


async def post(client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
    response = await client.post(f"/v1/{path}", json=body)
    assert response.status_code == 200, response.text
    return response.json()  # type: ignore[no-any-return]


async def stream(client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> list[Any]:
    response = await client.post(f"/v1/{path}", json={**body, "stream": True})
    assert response.status_code == 200, response.text
    lines = response.text.split("\n\n")[:-2]
    return [json.loads(line.removeprefix("data: ")) for line in lines]


async def test_token_ids_of_a_chat(client: httpx.AsyncClient, host: LocalHost) -> None:
    body = chat(max_tokens=6, return_token_ids=True, n=2)
    whole = await post(client, "chat/completions", body)
    ChatCompletion.model_validate(whole)
    prompt = list(host.requests[0].prompt_token_ids)
    assert whole["prompt_token_ids"] == prompt
    assert [choice["token_ids"] for choice in whole["choices"]] == [prompt[:6]] * 2
    events = await stream(client, "chat/completions", body)
    assert events[0]["prompt_token_ids"] == prompt
    assert not any("prompt_token_ids" in event for event in events[1:])
    for index in range(2):
        mine = [e["choices"][0] for e in events if e["choices"][0]["index"] == index]
        assert list(chain.from_iterable(choice["token_ids"] for choice in mine)) == prompt[:6]
    without = await post(client, "chat/completions", chat(max_tokens=2))
    assert "prompt_token_ids" not in without
    assert "token_ids" not in without["choices"][0]


async def test_token_ids_of_completions(client: httpx.AsyncClient, host: LocalHost) -> None:
    body = {"prompt": [[1, 2, 3], [4, 5]], "max_tokens": 3, "return_token_ids": True}
    whole = await post(client, "completions", body)
    Completion.model_validate(whole)
    assert [c["prompt_token_ids"] for c in whole["choices"]] == [[1, 2, 3], [4, 5]]
    assert [c["token_ids"] for c in whole["choices"]] == [[1, 2, 3], [4, 5, 4]]
    events = [e["choices"][0] for e in await stream(client, "completions", body)]
    assert sum("prompt_token_ids" in choice for choice in events) == 2
    assert list(chain.from_iterable(c["token_ids"] for c in events if c["index"] == 1)) == [4, 5, 4]


async def test_half_a_character_has_an_id_in_the_stream(client: httpx.AsyncClient) -> None:
    ids = [228, 189, 160]  # one character of three tokens
    body = {"prompt": ids, "max_tokens": 3, "return_token_ids": True}
    events = [e["choices"][0] for e in await stream(client, "completions", body)]
    assert list(chain.from_iterable(choice["token_ids"] for choice in events)) == ids


async def test_tokens_by_the_names_of_their_ids(client: httpx.AsyncClient) -> None:
    body = {"prompt": [72, 73], "max_tokens": 2, "logprobs": 1, "return_tokens_as_token_ids": True}
    found = (await post(client, "completions", body))["choices"][0]["logprobs"]
    assert found["tokens"] == ["token_id:72", "token_id:73"]
    assert "token_id:0" in found["top_logprobs"][0]
    fields = {"logprobs": True, "top_logprobs": 1, "return_tokens_as_token_ids": True}
    found = await post(client, "chat/completions", chat(max_tokens=1, **fields))
    (item,) = found["choices"][0]["logprobs"]["content"]
    assert item["token"].startswith("token_id:")
    assert item["top_logprobs"][0]["token"] == "token_id:0"


async def test_the_usage_so_far(client: httpx.AsyncClient) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    for path, body in (("chat/completions", chat()), ("completions", {"prompt": "Hello"})):
        body = {**body, "max_tokens": 4, "stream_options": options}
        counts = [e["usage"]["completion_tokens"] for e in await stream(client, path, body)]
        first = [0] if path.startswith("chat") else []
        assert counts == [*first, 1, 2, 3, 4, 4], path
    body = chat(max_tokens=2, stream_options={"continuous_usage_stats": True})
    assert not any("usage" in event for event in await stream(client, "chat/completions", body))


def test_an_event_counts_its_own_tokens_and_no_later_ones(tokenizer: Tokenizer) -> None:
    """A reader that is slower than the engine gets several events at once."""
    usage = Usage(prompt_tokens=2, completion_tokens=3)
    deltas = [
        AnswerDelta(parts=(Content("a"),), token_ids=[97]),
        AnswerDelta(token_ids=[200]),
        AnswerDelta(parts=(Content("b"),), token_ids=[98]),
    ]
    options = {"stream_options": {"include_usage": True, "continuous_usage_stats": True}}
    talk = ChatRequest(messages=[{"role": "user", "content": "a"}], stream=True, **options)
    text = CompletionRequest(prompt="a", stream=True, **options)
    shared: dict[str, Any] = {"tokenizer": tokenizer, "head": {}, "usage": usage}
    for events in (
        ChatRenderer(body=talk, prompt_ids=(1, 2), num_answers=1, **shared),
        CompletionRenderer(body=text, prompts=[Prompt((1, 2))], num_answers_each=1, **shared),
    ):
        told = (events.events(deltas) + events.closing()).decode().split("\n\n")
        assert told[-2:] == ["data: [DONE]", ""]
        counts = [json.loads(event[6:])["usage"]["completion_tokens"] for event in told[:-2]]
        assert counts == [1, 3, 3]


async def test_special_tokens_are_shown_where_they_are_wanted(client: httpx.AsyncClient) -> None:
    body = {"prompt": [LETTER_I, EOS], "max_tokens": 5}
    assert (await post(client, "completions", body))["choices"][0]["text"] == "i"
    body |= {"skip_special_tokens": False}
    assert (await post(client, "completions", body))["choices"][0]["text"] == "i"
    body |= {"include_stop_str_in_output": True}
    text = (await post(client, "completions", body))["choices"][0]["text"]
    assert text == "i<|im_end|>"


async def test_the_stop_text_is_shown_where_it_is_wanted(client: httpx.AsyncClient) -> None:
    body = {"prompt": "abcd", "stop": ["bc"], "max_tokens": 8}
    for includes, text in ((False, "a"), (True, "abc")):
        body |= {"include_stop_str_in_output": includes}
        choice = (await post(client, "completions", body))["choices"][0]
        assert (choice["text"], choice["finish_reason"]) == (text, "stop")
        streamed = await stream(client, "completions", body)
        assert "".join(event["choices"][0]["text"] for event in streamed) == text


async def test_what_reaches_the_engine(client: httpx.AsyncClient, host: LocalHost) -> None:
    body = chat(max_tokens=1, allowed_token_ids=[5, 6.0], cache_salt="s" * 40)
    await post(client, "chat/completions", body)
    (request,) = host.requests
    assert request.params.allowed_token_ids == (5, 6)
    assert request.cache_salt == "s" * 40
    for wrong in ({"allowed_token_ids": []}, {"cache_salt": ""}, {"cache_salt": 5}):
        response = await client.post("/v1/chat/completions", json=chat(**wrong))
        assert response.json()["error"]["param"] == next(iter(wrong))


async def test_values_that_ask_for_no_value(client: httpx.AsyncClient, host: LocalHost) -> None:
    """A seed of -1 is any, a ``top_p`` of 0 keeps the likeliest token."""
    for _ in range(2):
        await post(client, "chat/completions", chat(max_tokens=1, seed=-1, top_p=0))
    first, second = host.requests
    assert first.seed != second.seed
    assert 0 < first.params.top_p < 1e-6


@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        ({"truncate_prompt_tokens": 3}, [8, 9, 10]),
        ({"truncate_prompt_tokens": 3, "truncation_side": "left"}, [8, 9, 10]),
        ({"truncate_prompt_tokens": 3, "truncation_side": "right"}, [1, 2, 3]),
        ({"truncate_prompt_tokens": 50}, list(range(1, 11))),
        ({"truncate_prompt_tokens": -1}, list(range(1, 11))),
        ({"truncate_prompt_tokens": None}, list(range(1, 11))),
    ],
)
async def test_a_prompt_that_may_be_cut(
    client: httpx.AsyncClient, host: LocalHost, fields: dict[str, Any], kept: list[int]
) -> None:
    body = {"prompt": list(range(1, 11)), "max_tokens": 1, **fields}
    whole = await post(client, "completions", body)
    assert list(host.requests[0].prompt_token_ids) == kept
    assert whole["usage"]["prompt_tokens"] == len(kept)


async def test_a_prompt_is_cut_to_what_the_context_holds(
    client: httpx.AsyncClient, host: LocalHost
) -> None:
    body = chat("x" * 1000, max_tokens=6, truncate_prompt_tokens=-1)
    await post(client, "chat/completions", body)
    assert len(host.requests[0].prompt_token_ids) == CONTEXT - 6
    echoed = {"prompt": "x" * 300 + "end", "max_tokens": 1, "echo": True}
    whole = await post(client, "completions", {**echoed, "truncate_prompt_tokens": 5})
    assert whole["choices"][0]["text"].startswith("xxend")
    for wrong in (0, CONTEXT + 1, -2):
        response = await client.post(
            "/v1/completions", json={"prompt": "a", "truncate_prompt_tokens": wrong}
        )
        assert response.json()["error"]["param"] == "truncate_prompt_tokens"


async def test_a_default_limit_gives_way_to_the_context(
    client: httpx.AsyncClient, host: LocalHost
) -> None:
    whole = await post(client, "completions", {"prompt": [1] * (CONTEXT - 5)})
    assert whole["usage"]["completion_tokens"] == 5
    response = await client.post(
        "/v1/completions", json={"prompt": [1] * (CONTEXT - 5), "max_tokens": 16}
    )
    assert response.json()["error"]["code"] == "context_length_exceeded"


async def test_special_tokens_of_a_prompt(client: httpx.AsyncClient, host: LocalHost) -> None:
    await post(client, "completions", {"prompt": "a", "max_tokens": 1})
    await post(client, "completions", {"prompt": "a", "max_tokens": 1, "add_special_tokens": False})
    with_special, without = (len(request.prompt_token_ids) for request in host.requests)
    assert with_special >= without == 1
    messages = {"messages": [{"role": "user", "content": "a"}]}
    for special, status in ((None, 200), (False, 200), (True, 400)):
        response = await client.post("/tokenize", json={**messages, "add_special_tokens": special})
        assert response.status_code == status
    assert response.json()["error"]["param"] == "add_special_tokens"
