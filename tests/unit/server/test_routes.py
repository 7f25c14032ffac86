from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest
from server_fakes import EOS, KEY, LocalHost

from tests.waiting import becomes
from unisono.core import NEUTRAL, EngineConfig, SamplingDefaults
from unisono.core.errors import EngineDeadError, HelperFailedError, RequestFailedError
from unisono.server import Limits
from unisono.server.openai.response_schema import ChatCompletion, Completion, ErrorResponse
from unisono.text import Tokenizer

MakeClient = Callable[..., httpx.AsyncClient]


def chat(text: str = "Hello", **fields: Any) -> dict[str, Any]:
    return {"model": "echo", "messages": [{"role": "user", "content": text}], **fields}


def plain(prompt: Any = "Hello", **fields: Any) -> dict[str, Any]:
    return {"model": "echo", "prompt": prompt, **fields}


def events(response: httpx.Response) -> list[dict[str, Any]]:
    lines = response.text.split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""]
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-2]]


def refused(response: httpx.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    ErrorResponse.model_validate_json(response.content)
    error: dict[str, Any] = response.json()["error"]
    return error


async def test_a_chat_is_answered(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/chat/completions", json=chat(max_tokens=7))
    body = ChatCompletion.model_validate_json(response.content)
    (choice,) = body.choices
    assert choice.message.content == "u:Hello"
    assert choice.finish_reason == "length"
    assert (body.usage.prompt_tokens, body.usage.completion_tokens) == (8, 7)
    assert body.usage.prompt_tokens_details.cached_tokens == 1


async def test_a_chat_is_streamed(client: httpx.AsyncClient) -> None:
    body = chat("汉字😀", max_tokens=12, n=2, stream=True, stream_options={"include_usage": True})
    response = await client.post("/v1/chat/completions", json=body)
    assert response.headers["content-type"].startswith("text/event-stream")
    *chunks, last = events(response)
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == 24
    assert all(chunk["usage"] is None for chunk in chunks)
    for index in (0, 1):
        choices = [c["choices"][0] for c in chunks if c["choices"][0]["index"] == index]
        assert choices[0]["delta"] == {"role": "assistant", "content": ""}
        assert choices[-1]["finish_reason"] == "length"
        assert all(c["finish_reason"] is None for c in choices[:-1])
        text = "".join(c["delta"].get("content", "") for c in choices)
        assert text == "u:汉字😀"


async def test_log_probabilities_of_a_chat(client: httpx.AsyncClient) -> None:
    body = chat(max_tokens=2, logprobs=True, top_logprobs=2)
    whole = (await client.post("/v1/chat/completions", json=body)).json()
    content = whole["choices"][0]["logprobs"]["content"]
    assert [item["token"] for item in content] == ["u", ":"]
    assert content[0]["bytes"] == [117]
    assert len(content[0]["top_logprobs"]) == 2
    chunks = events(await client.post("/v1/chat/completions", json={**body, "stream": True}))
    streamed = [c["choices"][0]["logprobs"] for c in chunks if c["choices"][0]["logprobs"]]
    assert [item for part in streamed for item in part["content"]] == content


async def test_log_probabilities_of_a_prompt(client: httpx.AsyncClient) -> None:
    body = chat("a", max_tokens=1, prompt_logprobs=1)
    found = (await client.post("/v1/chat/completions", json=body)).json()["prompt_logprobs"]
    assert found[0] is None
    assert found[1] == {
        "25": {"logprob": -0.25, "rank": 1, "decoded_token": ":"},
        "0": {"logprob": -0.5, "rank": 1, "decoded_token": "!"},
    }
    body = plain("ab", max_tokens=1, prompt_logprobs=0)
    choice = (await client.post("/v1/completions", json=body)).json()["choices"][0]
    assert choice["prompt_logprobs"][0] is None
    assert len(choice["prompt_logprobs"]) == 2


@pytest.mark.parametrize("stream", [False, True])
async def test_a_stop_text_ends_the_answer_and_the_work(
    client: httpx.AsyncClient, host: LocalHost, stream: bool
) -> None:
    body = plain("one two three", stop=["two"], max_tokens=100, logprobs=0, stream=stream)
    response = await client.post("/v1/completions", json=body)
    parts = events(response) if stream else [response.json()]
    choices = [part["choices"][0] for part in parts]
    assert "".join(choice["text"] for choice in choices) == "one "
    assert choices[-1]["finish_reason"] == "stop"
    assert [t for c in choices for t in c["logprobs"]["tokens"]] == list("one two")
    assert len(host.engine.aborted) == 1
    assert not host.engine.has_work


async def test_the_token_that_ends_an_answer_is_not_text(client: httpx.AsyncClient) -> None:
    body = plain([71, EOS], max_tokens=9)
    whole = (await client.post("/v1/completions", json=body)).json()
    assert whole["choices"][0]["text"] == "h"
    assert whole["choices"][0]["finish_reason"] == "stop"
    assert whole["usage"]["completion_tokens"] == 2


@pytest.mark.parametrize("stream", [False, True])
async def test_echo_with_log_probabilities(client: httpx.AsyncClient, stream: bool) -> None:
    body = plain("héy", echo=True, logprobs=1, max_tokens=2, stream=stream)
    response = await client.post("/v1/completions", json=body)
    choices = [p["choices"][0] for p in (events(response) if stream else [response.json()])]
    assert "".join(choice["text"] for choice in choices) == "héyh\ufffd"
    found = {
        key: [x for c in choices for x in c["logprobs"][key]] for key in choices[0]["logprobs"]
    }
    assert found["tokens"] == ["h", "bytes:\\xc3", "bytes:\\xa9", "y", "h", "bytes:\\xc3"]
    assert found["text_offset"] == [0, 1, 1, 2, 3, 4]
    assert found["token_logprobs"] == [None, *[-0.25] * 5]
    assert found["top_logprobs"][0] is None
    assert found["top_logprobs"][1] == {"!": -0.5, "bytes:\\xc3": -0.25}


async def test_scoring_a_prompt_without_an_answer(client: httpx.AsyncClient) -> None:
    body = plain("abc", echo=True, logprobs=0, max_tokens=0)
    whole = Completion.model_validate_json(
        (await client.post("/v1/completions", json=body)).content
    )
    assert whole.choices[0].text == "abc"
    assert whole.choices[0].logprobs is not None
    assert whole.choices[0].logprobs.token_logprobs == [None, -0.25, -0.25]
    assert whole.usage.completion_tokens == 0
    error = refused(await client.post("/v1/completions", json=plain(max_tokens=0)), 400)
    assert "asks for no answer" in error["message"]


async def test_several_prompts_and_answers(client: httpx.AsyncClient, host: LocalHost) -> None:
    body = plain(["ab", "xy"], n=2, max_tokens=2, seed=5)
    whole = (await client.post("/v1/completions", json=body)).json()
    assert [c["text"] for c in whole["choices"]] == ["ab", "ab", "xy", "xy"]
    assert [c["index"] for c in whole["choices"]] == [0, 1, 2, 3]
    assert whole["usage"]["prompt_tokens"] == 4
    assert whole["usage"]["prompt_tokens_details"]["cached_tokens"] == 2
    seeds = [request.seed for request in host.requests]
    assert seeds[0] == seeds[2] == 5
    assert seeds[1] == seeds[3] != 5


async def test_fields_reach_the_engine(client: httpx.AsyncClient, host: LocalHost) -> None:
    body = chat(
        max_completion_tokens=3,
        temperature=0.5,
        top_k=-1,
        min_p=0.1,
        repetition_penalty=1.1,
        logit_bias={"7": -3},
        stop="x",
        stop_token_ids=[9],
        min_tokens=1,
        ignore_eos=True,
        priority=4,
    )
    assert (await client.post("/v1/chat/completions", json=body)).status_code == 200
    (request,) = host.requests
    params = request.params
    assert (params.max_tokens, params.temperature, params.top_k) == (3, 0.5, 0)
    assert (params.logit_bias, params.stop, params.stop_token_ids) == ({7: -3}, ("x",), (9,))
    assert (params.min_tokens, params.ignore_eos, request.priority) == (1, True, 4)
    assert request.tenant


async def test_what_a_request_leaves_open_is_as_the_model_recommends(
    make_client: MakeClient, host: LocalHost
) -> None:
    recommended = SamplingDefaults(temperature=0.6, top_k=20, repetition_penalty=1.1)
    async with make_client(sampling_defaults=recommended) as client:
        for route, body in (("chat/completions", chat()), ("completions", plain("a"))):
            for said in ({}, {"temperature": 0}, {"top_k": -1, "temperature": None}):
                host.requests.clear()
                response = await client.post(f"/v1/{route}", json={**body, **said})
                assert response.status_code == 200
                chosen = host.requests[0].params.chosen()
                expected = {n: max(v, 0) for n, v in said.items() if v is not None}
                assert chosen == replace(NEUTRAL, **{**recommended.said(), **expected})
        card = (await client.get("/v1/models")).json()["data"][0]
        assert card["default_sampling_params"] == recommended.said()
        assert all(
            type(value) is type(recommended.said()[name])
            for name, value in card["default_sampling_params"].items()
        )
        assert (await client.get("/v1/models/echo")).json() == card


async def test_tokens_there_and_back(client: httpx.AsyncClient) -> None:
    found = (await client.post("/tokenize", json={"prompt": "hé"})).json()
    assert found == {"count": 3, "max_model_len": 256, "tokens": [71, 127, 102], "token_strs": None}
    back = await client.post("/detokenize", json={"tokens": found["tokens"]})
    assert back.json() == {"prompt": "hé"}
    body = {"messages": [{"role": "user", "content": "a"}], "return_token_strs": True}
    found = (await client.post("/tokenize", json=body)).json()
    assert "".join(found["token_strs"]) == "u:a\n"
    refused(await client.post("/tokenize", json={}), 400)
    refused(await client.post("/detokenize", json={"tokens": [5000]}), 400)
    refused(await client.post("/detokenize", json={"tokens": ["a"]}), 400)


async def test_models(make_client: MakeClient) -> None:
    async with make_client(model_aliases=("org/echo",)) as client:
        listed = (await client.get("/v1/models")).json()
        assert [card["id"] for card in listed["data"]] == ["echo", "org/echo"]
        assert (await client.get("/v1/models/org/echo")).json()["max_model_len"] == 256
        refused(await client.get("/v1/models/other"), 404)
        error = refused(await client.post("/v1/completions", json=plain() | {"model": "gpt"}), 404)
        assert error["code"] == "model_not_found"
        assert "org/echo" in error["message"]


async def test_every_route_but_health_needs_a_key(make_client: MakeClient) -> None:
    async with make_client(key=None) as client:
        paths = (await make_client().get("/openapi.json")).json()["paths"]
        assert "/v1/chat/completions" in paths
        routes = [(p, m) for p, methods in paths.items() for m in methods]
        extra = [("/openapi.json", "get"), ("/nothing", "get"), ("/docs", "get"), ("/", "post")]
        for path, method in [*routes, *extra]:
            response = await client.request(method, path)
            if path == "/health":
                assert response.status_code == 200
            else:
                assert refused(response, 401)["code"] == "missing_api_key", path
                assert response.headers["www-authenticate"] == "Bearer"
    async with make_client(key=KEY + "x") as client:
        assert refused(await client.get("/v1/models"), 401)["code"] == "invalid_api_key"


async def test_all_routes_of_the_application_are_described(
    make_client: MakeClient, host: LocalHost, tokenizer: Tokenizer, settings: Any
) -> None:
    from unisono.server.app import create_app

    app = create_app(settings(), host, tokenizer)
    paths = {getattr(route, "path", "") for route in app.routes} - {"/openapi.json", ""}
    assert {path.replace(":path", "") for path in paths} <= set(app.openapi()["paths"])


async def test_tenants_are_told_apart_by_key(make_client: MakeClient, host: LocalHost) -> None:
    keys = ("first-key", "second-key")
    for key in keys:
        async with make_client(key=key, api_keys=keys) as client:
            await client.post("/v1/completions", json=plain(max_tokens=1))
    assert len({request.tenant for request in host.requests}) == 2


@pytest.mark.parametrize("body", [[], [{}], "a", 5, True])
async def test_a_body_that_is_no_object(make_client: MakeClient, body: Any) -> None:
    async with make_client() as client:
        for route in ("/v1/chat/completions", "/v1/completions", "/tokenize", "/detokenize"):
            error = refused(await client.post(route, json=body), 400)
            assert error["message"] == "The body must be a JSON object."
            assert error["code"] == "invalid_value"


async def test_limits(make_client: MakeClient) -> None:
    limits = Limits(body_bytes=3000, n=3, prompts=2, messages=2, max_tokens=50, answers=4)
    async with make_client(limits=limits) as client:
        send = client.post
        assert refused(await send("/v1/completions", content=b"x" * 3001), 413)

        async def chunks() -> Any:
            for _ in range(4):
                yield b" " * 1000

        refused(await send("/v1/completions", content=chunks()), 413)
        assert refused(await send("/v1/completions", json=plain(n=4)), 400)["param"] == "n"
        assert refused(await send("/v1/completions", json=plain(["a"] * 3)), 400)
        assert refused(await send("/v1/completions", json=plain(["a"] * 2, n=3)), 400)
        turn = {"role": "user", "content": "a"}
        refused(await send("/v1/chat/completions", json=chat() | {"messages": [turn] * 3}), 400)
        refused(await send("/v1/completions", json=plain(max_tokens=51)), 400)
        whole = (await send("/v1/chat/completions", json=chat())).json()
        assert whole["usage"]["completion_tokens"] == 50
        refused(await client.get("/health", headers={"x": "y" * 20_000}), 431)


async def test_so_many_prompt_logprobs_are_too_much(make_client: MakeClient) -> None:
    async with make_client(limits=Limits(logprob_entries=20)) as client:
        body = plain("x" * 11, prompt_logprobs=1)
        assert refused(await client.post("/v1/completions", json=body), 400)


@pytest.mark.parametrize(
    "fields",
    [
        {"top_logprobs": 1},
        {"max_tokens": 1, "max_completion_tokens": 2},
        {"stream_options": {"include_usage": True}},
        {"prompt_logprobs": 1, "stream": True},
        {"max_tokens": 0},
        {"min_tokens": 5, "max_tokens": 4},
        {"logit_bias": {"x": 1}},
        {"messages": [{"role": "user"}]},
        {"add_generation_prompt": True, "continue_final_message": True},
    ],
)
async def test_contradictions(client: httpx.AsyncClient, fields: dict[str, Any]) -> None:
    refused(await client.post("/v1/chat/completions", json=chat() | fields), 400)


async def test_what_a_template_is_told(client: httpx.AsyncClient) -> None:
    options = {"reasoning_effort": "high", "enable_thinking": False, "thinking_budget": 9}
    documents = [{"title": "A", "text": "b"}, {"text": "c"}]
    body = chat("x", chat_template_kwargs=options, documents=documents)
    tokens = (await client.post("/tokenize", json=body)).json()["tokens"]
    text = (await client.post("/detokenize", json={"tokens": tokens})).json()["prompt"]
    assert text == "u:x\nA=b;=c;highoff"
    for wrong in ({"chat_template_kwargs": {"messages": []}}, {"documents": [{"title": "A"}]}):
        refused(await client.post("/v1/chat/completions", json=chat() | wrong), 400)


async def test_an_empty_prompt(client: httpx.AsyncClient) -> None:
    assert refused(await client.post("/v1/completions", json=plain("")), 400)["param"] == "prompt"


async def test_a_prompt_that_is_too_long(client: httpx.AsyncClient) -> None:
    error = refused(await client.post("/v1/completions", json=plain("x" * 5000)), 400)
    assert error["code"] == "context_length_exceeded"


async def test_a_full_queue(make_client: MakeClient, host: LocalHost) -> None:
    host.engine.max_queue = 1
    async with make_client() as client:
        response = await client.post("/v1/completions", json=plain(n=2))
        assert refused(response, 429)["code"] == "queue_full"
        assert response.headers["retry-after"] == "7"
    async with make_client(engine=EngineConfig(max_queue=1, max_num_seqs=1)) as client:
        response = await client.post("/v1/completions", json=plain(n=3))
        assert refused(response, 429)["code"] == "queue_full"


async def test_no_engine(client: httpx.AsyncClient, host: LocalHost) -> None:
    host.failure = EngineDeadError("It died.", hint="Again.")
    for stream in (False, True):
        response = await client.post("/v1/completions", json=plain(stream=stream))
        assert refused(response, 503)["code"] == "engine_died"
        assert response.headers["retry-after"]


async def test_a_helper_that_was_killed(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the client's fault nor the model's."""

    def fail(*args: object, **options: object) -> None:
        raise HelperFailedError("It was killed.", hint="Again.")

    for method in ("encode", "encode_chat"):
        monkeypatch.setattr(Tokenizer, method, fail)
    for path, body in (("completions", plain()), ("chat/completions", chat(stream=True))):
        response = await client.post(f"/v1/{path}", json=body)
        assert refused(response, 503)["code"] == "helper_failed"
        assert response.headers["retry-after"]


async def test_an_engine_that_dies_in_the_middle_of_a_stream(
    client: httpx.AsyncClient, host: LocalHost
) -> None:
    host.delay_s = 0.01
    sending = asyncio.create_task(
        client.post("/v1/chat/completions", json=chat(max_tokens=100, stream=True))
    )
    await becomes(lambda: host.num_steps > 3)
    for answers in set(host.routes.values()):
        answers.fail(EngineDeadError("It died."))
    last = events(await sending)[-1]
    assert last["error"]["code"] == "engine_died"


async def test_a_failed_request_tells_nothing_of_the_inside(
    client: httpx.AsyncClient, host: LocalHost
) -> None:
    host.failure = RequestFailedError("The engine could not finish this request.")
    assert refused(await client.post("/v1/completions", json=plain()), 500)
    host.failure = RuntimeError("/secret/path and a prompt")
    error = refused(await client.post("/v1/completions", json=plain()), 500)
    assert "secret" not in error["message"]


async def test_logs_carry_no_prompt_and_no_key(
    client: httpx.AsyncClient, host: LocalHost, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="unisono")
    host.failure = RuntimeError("my secret prompt")
    await client.post("/v1/completions", json=plain("my secret prompt"))
    await client.post("/v1/completions", json=plain("my secret prompt", surprise=1))
    logged = "\n".join(
        logging.Formatter().format(r) for r in caplog.records if r.name.startswith("unisono")
    )
    assert "RuntimeError" in logged
    assert "secret" not in logged
    assert KEY not in logged


async def test_draining(make_client: MakeClient, host: LocalHost) -> None:
    async with make_client() as client:
        app = client._transport.app  # type: ignore[attr-defined]
        app.state.service.gate.draining = True
        response = await client.post("/v1/completions", json=plain())
        assert refused(response, 503)["code"] == "draining"
        assert response.headers["retry-after"]
        health = await client.get("/health")
        assert (health.status_code, health.json()["status"]) == (503, "draining")
        assert (await client.get("/metrics")).status_code == 200


async def test_health_says_when_there_is_no_engine(
    client: httpx.AsyncClient, host: LocalHost
) -> None:
    host.state = "restarting"
    health = await client.get("/health")
    assert (health.status_code, health.json()["status"]) == (503, "restarting")


async def test_unknown_routes_and_methods(client: httpx.AsyncClient) -> None:
    refused(await client.get("/nothing"), 404)
    response = await client.get("/v1/completions")
    assert refused(response, 405)["message"] == "This route does not take GET, but POST."
    assert response.headers["allow"] == "POST"


async def test_metrics(client: httpx.AsyncClient) -> None:
    await client.post("/v1/completions", json=plain("abc", max_tokens=5))
    await client.post("/v1/completions", json=plain("abc", stop="b", model="a-user-string"))
    text = (await client.get("/metrics")).text
    assert "unisono_time_to_first_token_seconds_count 1.0" in text
    assert "unisono_time_per_output_token_seconds_count 4.0" in text
    assert "unisono_request_duration_seconds_count 1.0" in text
    assert 'unisono_answers_total{reason="length"} 1.0' in text
    assert 'unisono_http_responses_total{status="4xx"} 1.0' in text
    assert "unisono_prefix_hit_tokens_total 2.0" in text
    assert "unisono_kv_cache_usage_ratio 0.5" in text
    assert "unisono_engine_restarts_total 0.0" in text
    assert "a-user-string" not in text


async def test_the_tokenizer_says_what_it_is(client: httpx.AsyncClient) -> None:
    found = (await client.get("/tokenizer_info")).json()
    assert (found["bos_token"], found["eos_token"]) == (None, "<|im_end|>")
    assert "m.role" in found["chat_template"]


async def test_answers_say_which_version_computed_them(client: httpx.AsyncClient) -> None:
    body = {"prompt": "a", "max_tokens": 1}
    whole = (await client.post("/v1/completions", json=body)).json()
    assert whole["system_fingerprint"].startswith("unisono-")
    streamed = await client.post("/v1/completions", json={**body, "stream": True})
    assert '"system_fingerprint":"unisono-' in streamed.text
