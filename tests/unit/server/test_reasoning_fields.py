"""Fields of reasoning, in the spellings of several servers."""

from __future__ import annotations

from typing import Any

import pytest

from unisono.server.api_error import ApiError
from unisono.server.openai.body_model import UnknownFields
from unisono.server.openai.reasoning.fields import plain_reasoning
from unisono.server.openai.request_schema import ChatRequest
from unisono.server.openai.validation import validate


def read(**fields: Any) -> dict[str, Any]:
    body = {"messages": [{"role": "user", "content": "a"}], **fields}
    return plain_reasoning(validate(body, ChatRequest, UnknownFields(strict=True)))


@pytest.mark.parametrize(
    ("fields", "plain"),
    [
        ({}, {}),
        ({"thinking_token_budget": 5}, {"thinking_token_budget": 5}),
        ({"thinking_budget": 0}, {"thinking_token_budget": 0}),
        ({"reasoning_budget": -1}, {"thinking_token_budget": None}),
        ({"thinking": {"type": "disabled"}}, {"enable_thinking": False}),
        ({"thinking": {"type": "adaptive"}}, {}),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 9}},
            {"enable_thinking": True, "thinking_token_budget": 9},
        ),
        ({"reasoning": {"effort": "low"}}, {"reasoning_effort": "low"}),
        (
            {"reasoning": {"max_tokens": 9, "exclude": True}, "thinking_budget": 9},
            {"thinking_token_budget": 9, "include_reasoning": False},
        ),
    ],
)
def test_what_they_come_to(fields: dict[str, Any], plain: dict[str, Any]) -> None:
    assert read(**fields) == plain


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"thinking_budget": 1, "thinking_token_budget": 2}, "thinking_budget"),
        ({"thinking_budget": -2}, "thinking_budget"),
        ({"thinking_budget": True}, "thinking_budget"),
        ({"thinking": {"type": "sometimes"}}, "thinking.type"),
        ({"thinking": {"type": "enabled", "budget_tokens": "9"}}, "thinking.budget_tokens"),
        ({"reasoning": {"effort": 1}}, "reasoning.effort"),
        ({"reasoning": {"enabled": 1}}, "reasoning"),
        ({"reasoning": {"depth": 1}}, "reasoning"),
        ({"reasoning": {"max_tokens": -1}}, "reasoning.max_tokens"),
        ({"thinking": {"type": "enabled"}, "reasoning": {"enabled": False}}, "reasoning.enabled"),
    ],
)
def test_what_is_refused(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(ApiError) as caught:
        read(**fields)
    assert caught.value.param == param
