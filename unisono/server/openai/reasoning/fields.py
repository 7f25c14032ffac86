"""Fields that say whether, how hard and how long a model reasons, as the clients of several servers
spell them, and the few that they come to.

Sources: the schemas of OpenAI, vLLM, llama.cpp, OpenRouter, Z.ai, DeepSeek and Alibaba. Knows
bodies; nothing of templates or engines.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from unisono.core.sampling_limits import LIMITS
from unisono.server.api_error import bad_request
from unisono.server.openai.body_model import Body, WholeNumber

_NO_LIMIT = -1
_BUDGETS = (
    "thinking_token_budget",
    "thinking_budget",
    "thinking_budget_tokens",
    "reasoning_budget",
    "max_reasoning_tokens",
)
_SWITCHES = {"enabled": True, "disabled": False, "auto": None, "adaptive": None}
_KEYS = {"effort", "enabled", "max_tokens", "exclude", "summary", "generate_summary"}
Budget = Annotated[WholeNumber, Field(ge=_NO_LIMIT, le=LIMITS["thinking_token_budget"].high)]


class ReasoningFields(Body):
    """A budget of -1 is none."""

    thinking_token_budget: Budget | None = None
    thinking_budget: Budget | None = None
    thinking_budget_tokens: Budget | None = None
    reasoning_budget: Budget | None = None
    max_reasoning_tokens: Budget | None = None
    thinking: dict[str, Any] | None = None
    reasoning: dict[str, Any] | None = None


def plain_reasoning(body: ReasoningFields) -> dict[str, Any]:
    """Values of ``thinking_token_budget``, ``enable_thinking``, ``reasoning_effort`` and
    ``include_reasoning``, as far as other fields say them.

    Raises:
        ApiError: a field of another form than documented, or two that differ.
    """
    said: list[tuple[str, str, Any]] = [
        (name, "thinking_token_budget", getattr(body, name)) for name in _BUDGETS
    ]
    said += [*_thinking(body.thinking or {}), *_reasoning(body.reasoning or {})]
    plain: dict[str, Any] = {}
    for place, name, value in said:
        if value is None:
            continue
        if plain.setdefault(name, value) != value:
            raise bad_request(f"{place} says something else than another field.", param=place)
    if plain.get("thinking_token_budget") == _NO_LIMIT:
        plain["thinking_token_budget"] = None
    return plain


def _thinking(given: dict[str, Any]) -> list[tuple[str, str, Any]]:
    if not given:
        return []
    kind = given.get("type")
    if kind not in _SWITCHES:
        raise bad_request(
            "thinking.type: Input should be 'enabled', 'disabled', 'auto' or 'adaptive'.",
            param="thinking.type",
        )
    return [
        ("thinking.type", "enable_thinking", _SWITCHES[kind]),
        (
            "thinking.budget_tokens",
            "thinking_token_budget",
            _tokens(given, "thinking", "budget_tokens"),
        ),
    ]


def _reasoning(given: dict[str, Any]) -> list[tuple[str, str, Any]]:
    if unknown := sorted(given.keys() - _KEYS):
        raise bad_request(
            f"reasoning takes {', '.join(sorted(_KEYS))}, not {unknown[0]!r:.40}.",
            param="reasoning",
        )
    effort, enabled = given.get("effort"), given.get("enabled")
    if effort is not None and not isinstance(effort, str):
        raise bad_request("reasoning.effort: Input should be a text.", param="reasoning.effort")
    if enabled is not None and not isinstance(enabled, bool):
        raise bad_request("reasoning.enabled: Input should be true or false.", param="reasoning")
    return [
        ("reasoning.effort", "reasoning_effort", effort),
        ("reasoning.enabled", "enable_thinking", enabled),
        ("reasoning.exclude", "include_reasoning", False if given.get("exclude") else None),
        (
            "reasoning.max_tokens",
            "thinking_token_budget",
            _tokens(given, "reasoning", "max_tokens"),
        ),
    ]


def _tokens(given: dict[str, Any], place: str, name: str) -> int | None:
    number = given.get(name)
    if number is None or (isinstance(number, int) and not isinstance(number, bool) and number >= 0):
        return number
    place = f"{place}.{name}"
    raise bad_request(f"{place}: Input should be a number of tokens.", param=place)
