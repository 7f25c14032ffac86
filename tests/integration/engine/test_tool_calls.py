"""Tool calls that a model is held to, whatever it would say."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from unisono import LLM, SamplingParams
from unisono.core.errors import InvalidRequestError
from unisono.hub.resolving import resolve_model

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "maxLength": 8},
                    "days": {"enum": [1, 3]},
                },
                "required": ["city", "days"],
                "additionalProperties": False,
            },
        },
    },
    {"type": "function", "function": {"name": "clock"}},
]
TALK = [{"role": "user", "content": "How is the weather in Bern?"}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo model, with a chat template that speaks of tools."""
    folder = tmp_path_factory.mktemp("demo") / "model"
    shutil.copytree(resolve_model(None), folder)
    template = "{% for m in messages %}{{ m.content }}{% endfor %}{{ tools | tojson if tools }}"
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": template}))
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    return folder


def load(folder: Path, tool_format: str) -> LLM:
    return LLM(folder, device="cpu", kv_memory=16 * 2**20, tool_format=tool_format)


@pytest.mark.parametrize(
    "tool_format", ["hermes", "mistral", "kimi-k2", "glm", "qwen3-coder", "general"]
)
def test_a_tool_is_called_by_name(folder: Path, tool_format: str) -> None:
    llm = load(folder, tool_format)
    params = SamplingParams(temperature=1.0, seed=3, max_tokens=600)
    (answer,) = llm.chat(TALK, params, tools=TOOLS, tool_choice="weather")
    has_ended = answer.finish_reason == "stop"
    assert not answer.reasoning
    assert not (has_ended and answer.text)
    whole = answer.tool_calls[: None if has_ended else -1]
    assert whole
    for call in whole:
        assert call.name == "weather"
        arguments: dict[str, Any] = json.loads(call.arguments)
        assert set(arguments) == {"city", "days"}
        assert arguments["days"] in (1, 3)


def test_some_tool_is_called(folder: Path) -> None:
    llm = load(folder, "hermes")
    params = SamplingParams(temperature=0, max_tokens=600)
    (answer,) = llm.chat(TALK, params, tools=TOOLS, tool_choice="required")
    assert answer.tool_calls
    assert {call.name for call in answer.tool_calls} <= {"weather", "clock"}


@pytest.mark.parametrize(
    ("tools", "choice"), [(TOOLS, "rain"), (None, "required"), ([], "weather")]
)
def test_a_choice_that_is_none(folder: Path, tools: Any, choice: str) -> None:
    llm = load(folder, "hermes")
    with pytest.raises(InvalidRequestError, match="names no tool"):
        llm.chat(TALK, tools=tools, tool_choice=choice)


def test_a_format_that_cannot_be_forced(folder: Path) -> None:
    """Its marks are no tokens of this vocabulary."""
    llm = load(folder, "harmony")
    with pytest.raises(InvalidRequestError, match="harmony cannot be forced"):
        llm.chat(TALK, tools=TOOLS, tool_choice="required")


def test_calls_that_need_not_come(folder: Path) -> None:
    """The answer is the model's own, under a constraint or none; a strict tool is refused where its
    schema cannot be enforced."""
    llm = load(folder, "qwen3-coder")
    params = SamplingParams(temperature=1.5, seed=4, max_tokens=8)
    (free,) = llm.chat(TALK, replace(params, min_tokens=8), tools=TOOLS)
    (guarded,) = llm.chat(TALK, params, tools=TOOLS)
    assert len(free.token_ids) == 8
    assert guarded.text
    assert not guarded.tool_calls
    parameters = {"type": "object", "properties": {}, "minProperties": 1}
    function = {"name": "weather", "strict": True, "parameters": parameters}
    with pytest.raises(InvalidRequestError, match="minProperties"):
        llm.chat(TALK, params, tools=[{"type": "function", "function": function}])
