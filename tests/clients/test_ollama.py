"""The client of Ollama (Python)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import ollama
import pytest

from tests.clients.served import KEY, Served
from tests.clients.tools import ARGUMENTS, ASKED, REPORT, RESULT, THOUGHT, VERDICT


@pytest.fixture(scope="module")
def client(scripted: Served) -> ollama.Client:
    return ollama.Client(scripted.url, headers={"authorization": f"Bearer {KEY}"})


@pytest.fixture(scope="module")
def real(demo: Served) -> ollama.Client:
    return ollama.Client(demo.url, headers={"authorization": f"Bearer {KEY}"})


def said(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def forecast(place: str, days: int) -> str:
    """The weather of the next days.

    Args:
        place: where
        days: how many
    """
    assert {"place": place, "days": days} == ARGUMENTS
    return RESULT


@pytest.mark.parametrize("streams", [False, True])
def test_a_loop_of_calls(client: ollama.Client, streams: bool) -> None:
    messages = said(ASKED)
    answer = client.chat("scripted", messages, tools=[forecast], stream=streams)
    lines = list(answer) if streams else [answer]
    calls = [call for line in lines for call in line.message.tool_calls or ()]
    (call,) = calls
    messages.append({"role": "assistant", "tool_calls": calls})
    result = forecast(**call.function.arguments)
    messages.append({"role": "tool", "tool_name": call.function.name, "content": result})
    assert client.chat("scripted", messages, tools=[forecast]).message.content == REPORT


def test_thinking_is_apart(client: ollama.Client) -> None:
    message = client.chat("scripted", said("Repeat: Yes."), think=True).message
    assert (message.thinking, message.content) == ("Let me see.", "Yes.")
    lines: Iterator[Any] = client.chat("scripted", said(THOUGHT), stream=True)
    messages = [line.message for line in lines]
    assert "".join(one.thinking or "" for one in messages) == "Hm."
    assert "".join(one.content for one in messages) == "Yes."


def test_prompts_and_schemas(real: ollama.Client) -> None:
    answer = real.generate("demo", "My parcel is lost.", format=VERDICT)
    assert json.loads(answer.response).keys() == {"urgent", "label"}
    assert (answer.done_reason, answer.eval_count > 0, answer.total_duration > 0) == (
        *("stop", True, True),
    )
    raw = real.generate("demo", "Hello", raw=True, options={"num_predict": 3}, stream=True)
    assert list(raw)[-1].done_reason == "length"


def test_models_and_errors(client: ollama.Client) -> None:
    assert [model.model for model in client.list().models] == ["scripted"]
    assert [model.model for model in client.ps().models] == ["scripted"]
    assert "tools" in client.show("scripted").capabilities
    with pytest.raises(ollama.ResponseError, match="started with"):
        client.pull("llama3")
    with pytest.raises(ollama.ResponseError, match="no such model") as raised:
        client.chat("llama3", said("a"))
    assert raised.value.status_code == 404
