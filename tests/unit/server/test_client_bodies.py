"""Bodies as client libraries and other servers' histories make them."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from server_fakes import LocalHost

from unisono.server.api_error import ApiError
from unisono.server.openai.body_model import UnknownFields
from unisono.server.openai.plain_messages import plain_messages
from unisono.server.openai.request_schema import ChatRequest, CompletionRequest
from unisono.server.openai.validation import validate
from unisono.text import Tokenizer
from unisono.text.templates.chat_template import ChatTemplate

USER = {"role": "user", "content": "a"}
ANSWER: dict[str, Any] = {
    "role": "assistant",
    "content": None,
    "refusal": None,
    "annotations": [],
    "audio": None,
    "function_call": None,
    "reasoning": "so",
    "reasoning_content": None,
    "provider_specific_fields": {"refusal": None},
    "thinking_blocks": [],
    "tool_calls": [
        {
            "index": 0,
            "id": "1",
            "type": "function",
            "function": {"name": "f", "arguments": '{"a": 1}'},
        }
    ],
}


def read(body: dict[str, Any]) -> ChatRequest:
    return validate(body, ChatRequest, UnknownFields(strict=True))


@pytest.mark.parametrize(
    "answer",
    [
        ANSWER,
        {**ANSWER, "tool_calls": []},
        {**ANSWER, "tool_calls": None, "content": "", "refusal": ""},
        {"role": "assistant"},
        {"role": "assistant", "content": []},
        {"role": "assistant", "content": [{"type": "output_text", "text": "a", "annotations": []}]},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
        {"role": "assistant", "content": ["a", {"text": "b"}]},
        {"role": "assistant", "content": None, "refusal": "I will not."},
        {"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]},
        {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]},
        {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]},
        {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": ""}}]},
        {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": []}}]},
        {"role": "assistant", "tool_calls": [{"type": "", "function": {"name": "f"}}]},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "so", "signature": ""}]},
        {"role": "assistant", "content": "a", "thinking": "so"},
        {"role": "assistant", "content": "a", "extra_content": {"google": {}}},
    ],
)
def test_answers_come_back_as_history(answer: dict[str, Any]) -> None:
    tool = {"role": "tool", "tool_call_id": "1", "content": None}
    read({"messages": [USER, answer, tool, USER]})


async def test_what_a_template_sees_of_a_history(client: httpx.AsyncClient) -> None:
    async def prompt(answer: dict[str, Any]) -> str:
        body = {"messages": [USER, answer], "add_generation_prompt": False}
        tokens = (await client.post("/tokenize", json=body)).json()["tokens"]
        return (await client.post("/detokenize", json={"tokens": tokens})).json()["prompt"]

    parts = ["a", {"type": "refusal", "refusal": "b"}, {"type": "output_text", "text": "c"}]
    assert await prompt({"role": "assistant", "content": parts}) == "u:a\na:a\nb\nc\n"
    said = {"role": "assistant", "content": None, "refusal": "no"}
    assert await prompt(said) == "u:a\na:no\n"


@pytest.mark.parametrize(
    "thought",
    [
        {"type": "thinking", "thinking": "so"},
        {"type": "thinking", "thinking": [{"type": "text", "text": "s"}, {"text": "o"}]},
        {"type": "reasoning", "reasoning": "so"},
        {"type": "reasoning", "text": "so"},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "so"}]},
    ],
)
def test_thoughts_among_the_parts_of_an_answer_are_reasoning(thought: dict[str, Any]) -> None:
    parts = [thought, {"type": "redacted_thinking", "data": "x"}, {"type": "text", "text": "a"}]
    body = read({"messages": [USER, {"role": "assistant", "content": parts}]})
    (plain,) = plain_messages(body.messages[1:])
    assert plain == {"role": "assistant", "content": ["a"], "reasoning_content": "so"}


def test_reasoning_goes_by_several_names() -> None:
    for name in ("reasoning", "reasoning_content", "thinking"):
        body = read({"messages": [USER, {"role": "assistant", "content": "a", name: "so"}]})
        assert plain_messages(body.messages[1:])[0]["reasoning_content"] == "so"


@pytest.mark.parametrize("value", [5, {}, [5], [{"type": "image"}], None])
def test_a_thought_that_is_no_text_is_refused(value: object) -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "thinking", "thinking": value}]
    with pytest.raises(ApiError) as caught:
        read({"messages": [USER, {"role": "assistant", "content": parts}]})
    assert caught.value.param == "messages[1].content[1].text"


def test_marks_for_caches_may_stand_in_any_place() -> None:
    mark = {"cache_control": {"type": "ephemeral"}}
    part = {"type": "text", "text": "a", **mark}
    read({"messages": [{"role": "system", "content": [part], **mark}, USER], **mark})


async def test_arguments_that_are_no_object_reach_the_template_as_text(
    client: httpx.AsyncClient,
) -> None:
    for arguments in ('{"a": 1}', "{", "[]", "", {"a": 1}):
        call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": arguments}}
        body = {"max_tokens": 1, "messages": [USER, {"role": "assistant", "tool_calls": [call]}]}
        response = await client.post("/v1/chat/completions", json=body)
        assert response.status_code == 200, response.text


def test_null_is_absence_at_every_depth() -> None:
    body = read(
        {
            "model": None,
            "messages": [{**USER, "name": None, "tool_calls": None}],
            "stream_options": {"include_usage": None},
            "logit_bias": {"5": None, "6": 1},
            "tools": [{"type": None, "function": {"name": "f", "parameters": None}}],
            "documents": [{"title": None, "text": "a"}],
            "chat_template_kwargs": None,
            "temperature": None,
        }
    )
    assert body.model is None
    assert body.logit_bias == {"6": 1}
    assert body.tools is not None
    assert body.tools[0].model_dump(exclude_unset=True) == {"function": {"name": "f"}}


def test_null_in_a_schema_of_a_tool_is_kept() -> None:
    parameters = {"type": "object", "properties": {"a": {"default": None, "enum": [None, 1.0]}}}
    function = {"name": "f", "parameters": parameters, "returns": {"type": "string"}}
    body = read({"messages": [USER], "tools": [{"type": "function", "function": function}]})
    assert body.tools is not None
    shown = body.tools[0].model_dump(exclude_unset=True)["function"]
    assert shown == function
    assert isinstance(shown["parameters"]["properties"]["a"]["enum"][1], float)


def test_integers_may_be_written_as_floats() -> None:
    fields = {"max_tokens": 4.0, "n": 1.0, "seed": -3.0, "top_k": 5.0, "top_logprobs": 2.0}
    body = read({"messages": [USER], "stop_token_ids": [1.0, 2], "logprobs": True, **fields})
    assert (body.max_tokens, body.seed, body.stop_token_ids) == (4, -3, [1, 2])
    assert all(type(getattr(body, name)) is int for name in fields)
    for prompt in ([1.0, 2], [[1, 2.0], [3]]):
        assert validate({"prompt": prompt}, CompletionRequest).prompt in ([1, 2], [[1, 2], [3]])
    for wrong in ({"max_tokens": 4.5}, {"n": "1"}, {"n": True}, {"stop_token_ids": [1.5]}):
        with pytest.raises(ApiError):
            read({"messages": [USER], **wrong})


@pytest.mark.parametrize(
    ("fields", "param", "says"),
    [
        ({"stop": 5}, "stop", "a text or a list of texts"),
        ({"stop": ["a", 5]}, "stop[1]", "string"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content", "list of parts"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
            "messages[0].content[0].text",
            "required",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": 5}]}]},
            "messages[0].content[0].text",
            "string",
        ),
        (
            {"messages": [USER, {"role": "assistant", "tool_calls": [{"id": 5, "function": {}}]}]},
            "messages[1].tool_calls[0].id",
            "string",
        ),
        (
            {
                "messages": [
                    {
                        "role": "assistant",
                        "tool_calls": [{"function": {"name": "f", "arguments": 5}}],
                    }
                ]
            },
            "messages[0].tool_calls[0].function.arguments",
            "JSON as text",
        ),
    ],
)
def test_of_several_forms_the_part_that_is_wrong_is_named(
    fields: dict[str, Any], param: str, says: str
) -> None:
    with pytest.raises(ApiError, match=says) as caught:
        read({"messages": [USER], **fields})
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("prompt", "param"),
    [
        (["a", 5], "prompt[1]"),
        ([1, "a"], "prompt[1]"),
        ([[1], ["a"]], "prompt[1][0]"),
        ([[1], []], "prompt[1]"),
        ({"a": 1}, "prompt"),
        ([], "prompt"),
    ],
)
def test_the_wrong_part_of_a_prompt_is_named(prompt: object, param: str) -> None:
    with pytest.raises(ApiError) as caught:
        validate({"prompt": prompt}, CompletionRequest)
    assert caught.value.param == param


async def test_an_effort_goes_to_a_template_that_reads_it(
    client: httpx.AsyncClient, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def prompt(**fields: Any) -> str:
        body = {"messages": [USER], **fields}
        tokens = (await client.post("/tokenize", json=body)).json()["tokens"]
        return str((await client.post("/detokenize", json={"tokens": tokens})).json()["prompt"])

    assert await prompt(reasoning_effort="high") == "u:a\nhigh"
    assert await prompt(reasoning_effort=None) == "u:a\n"
    both = {"reasoning_effort": "high", "chat_template_kwargs": {"reasoning_effort": "low"}}
    assert await prompt(**both) == "u:a\nlow"
    assert tokenizer.template_reads("enable_thinking")
    assert not tokenizer.template_reads("enable_think")


async def test_what_no_template_reads_is_refused_rather_than_dropped(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ChatTemplate, "reads", lambda self, name: False)
    function = {"name": "f", "parameters": {}}
    for name, value in {
        "reasoning_effort": "high",
        "tools": [{"type": "function", "function": function}],
        "documents": [{"title": "A", "text": "b"}],
    }.items():
        body = {"messages": [USER], name: value}
        response = await client.post("/v1/chat/completions", json=body)
        error = response.json()["error"]
        assert (response.status_code, error["code"], error["param"]) == (400, "not_supported", name)
    for empty in ({"tools": []}, {"documents": []}, {"tools": None}):
        response = await client.post("/v1/chat/completions", json={"messages": [USER], **empty})
        assert response.status_code == 200, response.json()


async def test_a_role_of_a_model_is_one_that_its_template_names(
    client: httpx.AsyncClient, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def answer(*roles: str) -> httpx.Response:
        messages = [{"role": role, "content": "a"} for role in roles]
        return await client.post("/tokenize", json={"messages": messages})

    error = (await answer("user", "ipython", "user", "ipython")).json()["error"]
    assert (error["code"], error["param"]) == ("invalid_value", "messages[1].role")
    assert "'tool'" in error["message"]
    assert "ipython" not in error["message"]
    assert tokenizer.template_has_role("off")
    assert not tokenizer.template_has_role("of")
    monkeypatch.setattr(Tokenizer, "template_has_role", lambda self, role: role == "ipython")
    assert (await answer("user", "ipython")).status_code == 200
    error = (await answer("user", "function")).json()["error"]
    assert (error["code"], error["param"]) == ("not_supported", "messages[1].role")
    assert (await answer("user", "User")).json()["error"]["param"] == "messages[1].role"


async def test_what_a_template_cannot_be_told_is_named(client: httpx.AsyncClient) -> None:
    for options in ({"messages": []}, {"tools": 1}, {f"a{i}": i for i in range(100)}):
        body = {"messages": [USER], "chat_template_kwargs": options}
        error = (await client.post("/v1/chat/completions", json=body)).json()["error"]
        assert error["param"] == "chat_template_kwargs"
        assert error["message"].startswith("chat_template_kwargs ")


async def test_wrong_keys_of_logit_bias_are_named(client: httpx.AsyncClient) -> None:
    body = {"messages": [USER], "logit_bias": {"bad1": 1, "5": 1, "bad\n2": 1}}
    error = (await client.post("/v1/chat/completions", json=body)).json()["error"]
    assert error["param"] == "logit_bias"
    assert "'bad1'" in error["message"]
    assert "'bad\\n2'" in error["message"]


def test_logprobs_of_a_completion_may_be_switched_off_as_in_a_chat() -> None:
    assert validate({"prompt": "a", "logprobs": False}, CompletionRequest).logprobs is None
    assert validate({"prompt": "a", "logprobs": 0}, CompletionRequest).logprobs == 0
    with pytest.raises(ApiError):
        validate({"prompt": "a", "logprobs": True}, CompletionRequest)


async def test_options_of_a_stream_need_a_stream(client: httpx.AsyncClient) -> None:
    for options, status in (({"include_usage": None}, 400), ({}, 400), (None, 200)):
        body = {"prompt": "a", "max_tokens": 1, "stream_options": options}
        assert (await client.post("/v1/completions", json=body)).status_code == status


async def test_the_model_may_be_left_out(client: httpx.AsyncClient, host: LocalHost) -> None:
    for body in ({"prompt": "a"}, {"prompt": "a", "model": None}, {"prompt": "a", "model": ""}):
        response = await client.post("/v1/completions", json={**body, "max_tokens": 1})
        assert response.status_code == 200, response.text
        assert response.json()["model"] == "echo"
    assert len(host.requests) == 3


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/v1/completions", {"prompt": ""}, "prompt"),
        ("/v1/completions", {"prompt": "a", "stream_options": {}}, "stream_options"),
        ("/v1/chat/completions", {"messages": [USER], "top_logprobs": 2}, "top_logprobs"),
        ("/v1/chat/completions", {"messages": [USER], "logit_bias": {"a": 1}}, "logit_bias"),
        ("/v1/chat/completions", {"messages": [USER], "max_tokens": 0}, "max_tokens"),
        ("/tokenize", {}, "prompt"),
        ("/detokenize", {"tokens": [10**6]}, "tokens"),
    ],
)
async def test_every_wrong_request_has_a_code(
    client: httpx.AsyncClient, path: str, body: dict[str, Any], param: str
) -> None:
    response = await client.post(path, json=body)
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (400, "invalid_value", param)


async def test_a_choice_of_nothing_is_refused(client: httpx.AsyncClient) -> None:
    body = {"prompt": "a", "structured_outputs": {"choice": []}}
    response = await client.post("/v1/completions", json=body)
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (400, "structured_outputs.choice")
