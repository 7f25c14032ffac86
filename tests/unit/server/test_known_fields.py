"""Fields beyond the schema: those without effect pass, what would change the answer
is refused by name."""

from __future__ import annotations

import pytest

from unisono.server.api_error import ApiError
from unisono.server.openai.body_model import UnknownFields
from unisono.server.openai.known_fields import FEATURES, MESSAGE_FEATURES, NO_EFFECT
from unisono.server.openai.request_schema import ChatRequest, CompletionRequest
from unisono.server.openai.validation import validate

TOOL = {"type": "function", "function": {"name": "f"}}
ASKING = {
    name: value
    for value, names in {
        "x": [
            "adapter_id",
            "custom_logit_processor",
            "image_data",
            "input_prefix",
            "input_suffix",
            "lora_path",
            "moderation",
            "multimodal_data",
            "prompt_embeds",
            "prompt_mode",
            "stop_regex",
            "system",
            "template",
            "chat_template",
            "tool_prompt",
        ],
        2: [
            "adaptive_target",
            "best_of",
            "dry_multiplier",
            "dynatemp_range",
            "encoder_repetition_penalty",
            "logprob_start_len",
            "max_new_tokens",
            "min_keep",
            "mirostat",
            "mirostat_mode",
            "n_indent",
            "n_predict",
            "n_probs",
            "no_repeat_ngram_size",
            "num_beams",
            "num_predict",
            "random_seed",
            "reasoning_budget",
            "repeat_penalty",
            "sampling_seed",
            "t_max_predict_ms",
            "tfs_z",
            "thinking_budget",
            "thinking_budget_tokens",
            "thinking_token_budget",
            "top_a",
            "top_n_sigma",
            "typical_p",
            "xtc_probability",
        ],
        True: [
            "add_special_tokens",
            "deferred",
            "echo",
            "enable_search",
            "grammar_lazy",
            "no_stop_trim",
            "post_sampling_probs",
            "raw",
            "return_hidden_states",
            "return_meta_info",
            "return_prompt_text",
            "return_prompt_token_ids",
            "return_routed_experts",
            "return_tokens",
            "safe_prompt",
            "think",
            "use_beam_search",
            "watermarking",
        ],
        False: ["do_sample"],
        ("a",): [
            "bad_words",
            "context",
            "data_sources",
            "file_ids",
            "functions",
            "grammar_triggers",
            "images",
            "input_extra",
            "input_ids",
            "logit_processors",
            "logits_processors",
            "mcp_servers",
            "plugins",
            "samplers",
            "stop_sequences",
            "transforms",
        ],
    }.items()
    for name in names
    if name in FEATURES
}
ASKING = {name: list(v) if isinstance(v, tuple) else v for name, v in ASKING.items()}
ASKING |= {
    "audio": {"voice": "a"},
    "custom_params": {"a": 1},
    "ec_transfer_params": {"a": 1},
    "function_call": {"name": "f"},
    "kv_transfer_params": {"a": 1},
    "lora": [{"id": 0, "scale": 1}],
    "modalities": ["text", "audio"],
    "extra_body": {"guided_json": {}},
    "options": {"num_ctx": 10},
    "reasoning": {"effort": "high"},
    "repetition_detection": {"max_pattern_size": 3},
    "search_parameters": {"mode": "on"},
    "session_params": {"id": "a"},
    "thinking": {"type": "enabled"},
    "verbosity": "low",
    "vllm_xargs": {"a": 1},
    "web_search_options": {},
    "logprob_token_ids": [1],
    "chat_template": "{{ messages }}",
}
"""For each feature a value that asks for it. ``repeat_last_n`` asks for something beside other
fields only."""


def read(**fields: object) -> ChatRequest:
    body = {"messages": [{"role": "user", "content": "a"}], **fields}
    return validate(body, ChatRequest, UnknownFields(strict=True))


def refused(**fields: object) -> ApiError:
    with pytest.raises(ApiError) as caught:
        read(**fields)
    return caught.value


def test_there_is_an_example_for_every_feature() -> None:
    assert ASKING.keys() == FEATURES.keys() - {"repeat_last_n"}


@pytest.mark.parametrize("name", sorted(ASKING.keys() - ChatRequest.model_fields.keys()))
def test_a_feature_that_is_asked_for_is_refused_by_name(name: str) -> None:
    error = refused(**{name: ASKING[name]})
    assert (error.status, error.code, error.param) == (400, "not_supported", name)
    assert error.message.startswith(f"{name}: ")


@pytest.mark.parametrize("name", sorted(FEATURES.keys() | NO_EFFECT))
def test_null_asks_for_nothing(name: str) -> None:
    read(**{name: None})


@pytest.mark.parametrize("name", sorted(NO_EFFECT))
def test_what_changes_nothing_may_have_any_value(name: str) -> None:
    read(**{name: {"a": [1, None]}})


@pytest.mark.parametrize(
    "fields",
    [
        {"parallel_tool_calls": False},
        {"parallel_tool_calls": False, "tools": []},
        {"parallel_tool_calls": False, "tools": [TOOL], "tool_choice": "none"},
        {"parallel_tool_calls": True, "tools": [TOOL]},
        {"tool_choice": "auto", "tools": [TOOL]},
        {"tool_choice": "none"},
        {"functions": [], "function_call": "auto"},
        {"function_call": "none"},
        {"response_format": {"type": "text", "json_schema": None}},
        {"presence_penalty": 0, "frequency_penalty": 0.0, "repetition_penalty": 1},
        {"best_of": 1},
        {"best_of": 3, "n": 3},
        {"suffix": ""},
        {"tools": [], "stop": [], "logit_bias": {}, "stop_token_ids": []},
        {"stop": ""},
        {"stream_options": {"include_usage": False}, "stream": True},
        {"extra_body": {}, "options": {}},
        {"top_logprobs": 0},
        {"top_logprobs": 0, "logprobs": False},
        {"modalities": ["text"]},
        {"n": 1, "echo": False, "use_beam_search": False, "length_penalty": 1.2},
        {"mirostat": 0, "mirostat_tau": 5.0, "typical_p": 1.0, "samplers": [], "min_keep": 0},
        {"repeat_last_n": 64},
        {"repeat_last_n": -1, "presence_penalty": 1},
        {"prompt": None, "prompt_logprobs": None},
        {"bad_words": [], "guided_choice": [], "vllm_xargs": {}, "lora_path": ""},
    ],
)
def test_values_that_ask_for_nothing_pass(fields: dict[str, object]) -> None:
    read(**fields)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"function_call": "auto", "functions": [{"name": "f"}]}, "function_call"),
        ({"repeat_last_n": 64, "presence_penalty": 1}, "repeat_last_n"),
        ({"best_of": 3, "n": 2}, "best_of"),
        ({"prompt": "a"}, "prompt"),
    ],
)
def test_beside_others_a_field_asks_for_something(fields: dict[str, object], param: str) -> None:
    error = refused(**fields)
    assert (error.status, error.code, error.param) == (400, "not_supported", param)


def test_tools_that_are_not_to_be_called_are_not_shown() -> None:
    assert read(tools=[TOOL], tool_choice="none").tools is None
    assert read(tools=[TOOL], tool_choice="auto").tools is not None


@pytest.mark.parametrize("name", sorted(MESSAGE_FEATURES))
def test_a_message_that_asks_for_more_is_refused_by_name(name: str) -> None:
    for value, is_refused in ((None, False), (True, True), ([{"a": 1}], True)):
        message = {"role": "assistant", "content": "a", name: value}
        if is_refused:
            error = refused(messages=[message])
            assert (error.code, error.param) == ("not_supported", f"messages[0].{name}")
        else:
            read(messages=[message])


@pytest.mark.parametrize("kind", ["image_url", "input_audio", "file", "video_url", "thinking"])
def test_a_part_that_is_no_text_is_refused_by_name(kind: str) -> None:
    parts = [{"type": "text", "text": "a"}, {"type": kind, kind: {}}]
    error = refused(messages=[{"role": "user", "content": parts}])
    assert (error.code, error.param) == ("not_supported", "messages[0].content[1]")


def test_more_messages_and_parts_than_there_may_be_are_not_looked_at() -> None:
    odd = {"role": "user", "content": "a", "audio": True}
    user = {"role": "user", "content": "a"}
    assert refused(messages=[user] * 65536 + [odd]).code == "invalid_value"
    parts = [{"type": "text", "text": "a"}] * 4096 + [{"type": "image_url"}]
    assert refused(messages=[{"role": "user", "content": parts}]).code == "invalid_value"


def test_fields_of_the_other_route_are_refused() -> None:
    for name, value in (("max_completion_tokens", 5), ("messages", [1]), ("tools", [TOOL])):
        with pytest.raises(ApiError, match="/v1/chat/completions") as caught:
            validate({"prompt": "a", name: value}, CompletionRequest)
        assert caught.value.param == name
    validate({"prompt": "a", "tools": [], "top_logprobs": 0, "documents": None}, CompletionRequest)
    body = {"prompt": "a", "echo": True, "add_special_tokens": False}
    assert validate(body, CompletionRequest).echo
