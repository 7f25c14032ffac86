"""A response before its answer: what the client asked for, said back as OpenAI does.

Knows bodies and OpenAI's objects; nothing of engines or answers.
"""

from __future__ import annotations

from typing import Any

from unisono.core.sampling_defaults import SamplingDefaults
from unisono.server.openai.request_schema import ChatRequest
from unisono.server.responses.response_body import ResponsesRequest

Json = dict[str, Any]
_NOTHING: Json = dict.fromkeys(
    ("completed_at", "error", "incomplete_details", "max_tool_calls", "usage")
)


def begun_response(
    head: Json, body: ResponsesRequest, chat: ChatRequest, defaults: SamplingDefaults
) -> Json:
    """Args:
    head: ``id``, ``created`` and ``model``.
    chat: the chat that the body is.
    defaults: of sampling, where the body says nothing.
    """
    used = {"temperature": 1.0, "top_p": 1.0, **defaults.said()}
    return {
        **_NOTHING,
        "id": head["id"].replace("-", "_"),
        "object": "response",
        "created_at": head["created"],
        "model": head["model"],
        "status": "in_progress",
        "background": False,
        "instructions": body.instructions,
        "max_output_tokens": chat.max_tokens,
        "metadata": body.metadata or {},
        "output": [],
        "parallel_tool_calls": chat.parallel_tool_calls is not False,
        "previous_response_id": body.previous_response_id,
        "prompt_cache_key": body.prompt_cache_key,
        "reasoning": {"effort": (body.reasoning or {}).get("effort"), "summary": None},
        "safety_identifier": body.safety_identifier,
        "service_tier": "default",
        "store": body.is_stored,
        "temperature": used["temperature"] if chat.temperature is None else chat.temperature,
        "text": {"format": (body.text or {}).get("format") or {"type": "text"}},
        "tool_choice": body.tool_choice or "auto",
        "tools": [_tool(tool) for tool in body.tools or ()],
        "top_logprobs": body.top_logprobs or 0,
        "top_p": used["top_p"] if chat.top_p is None else chat.top_p,
        "truncation": "disabled",
        "user": body.user,
    }


def _tool(tool: Json) -> Json:
    return {"description": None, "parameters": None, "strict": None, **tool}
