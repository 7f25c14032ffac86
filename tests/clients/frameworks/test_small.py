"""instructor and llm."""

from __future__ import annotations

import json
from typing import Literal

import instructor
import llm
import openai
import pytest
from llm.default_plugins.openai_models import Chat
from pydantic import BaseModel

from tests.clients.served import KEY, Served
from tests.clients.tools import ARGUMENTS, ASKED, REPORT, RESULT, VERDICT


class Verdict(BaseModel, extra="forbid"):
    urgent: bool
    label: Literal["parcel", "noise"]


MODES = [
    instructor.Mode.TOOLS,
    instructor.Mode.TOOLS_STRICT,
    instructor.Mode.JSON,
    instructor.Mode.JSON_SCHEMA,
    instructor.Mode.MD_JSON,
]


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.value)
def test_instructor(demo: Served, scripted: Served, mode: instructor.Mode) -> None:
    free = mode in (instructor.Mode.JSON, instructor.Mode.MD_JSON)  # by the prompt alone
    served = scripted if free else demo
    client = instructor.from_openai(openai.OpenAI(base_url=served.v1, api_key=KEY), mode=mode)
    text = '{"urgent": true, "label": "noise"}'
    fenced = f"```json\n{text}\n```" if mode is instructor.Mode.MD_JSON else text
    said = f"Repeat: {fenced}" if free else "It is loud."
    found = client.chat.completions.create(
        model=served.model,
        response_model=Verdict,
        max_retries=0,
        messages=[{"role": "user", "content": said}],
    )
    assert isinstance(found, Verdict)


def test_llm(scripted: Served) -> None:
    model = Chat(
        "mine",
        model_name="scripted",
        api_base=scripted.v1,
        key=KEY,
        supports_tools=True,
        supports_schema=True,
    )
    assert model.prompt("Hello.", stream=False).text() == "You said: Hello."
    assert "".join(model.prompt("Hello.")) == "You said: Hello."
    judged = json.loads(model.prompt("It is loud.", schema=VERDICT, stream=False).text())
    assert set(judged) == {"urgent", "label"}

    def forecast(place: str, days: int) -> str:
        assert {"place": place, "days": days} == ARGUMENTS
        return RESULT

    chain = model.chain(ASKED, tools=[llm.Tool.function(forecast)], stream=False)
    assert chain.text().endswith(REPORT)
