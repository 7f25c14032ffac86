"""Structured output, tools and reasoning."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.clients.behaviours.listing import Api, L, S, Topic, V, joined
from tests.clients.tools import ARGUMENTS, ASKED, PLACE, REPORT, RESULT, THOUGHT, TOOL, VERDICT

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
forms = Topic("Structured output")
tools = Topic("Tools")
thoughts = Topic("Reasoning")
FORMAT = {"type": "json_schema", "json_schema": {"name": "verdict", "schema": VERDICT}}


def verdict(api: Api, **fields: Any) -> None:
    found = json.loads(api.said(max_tokens=60, **fields))
    assert set(found) == {"urgent", "label"}
    assert found["label"] in ("parcel", "noise")


forms("response_format of type json_schema", V, L, S)(
    lambda api: verdict(api, response_format=FORMAT)
)
forms("structured_outputs.json", V)(lambda api: verdict(api, structured_outputs={"json": VERDICT}))
forms("guided_json", V)(lambda api: verdict(api, guided_json=VERDICT))
forms("json_schema as a field of its own", L)(lambda api: verdict(api, json_schema=VERDICT))
forms("json_object with a schema beside it", L)(
    lambda api: verdict(api, response_format={"type": "json_object", "schema": VERDICT})
)


@forms("json_object is an object", V, L, S)
def _(api: Api) -> None:
    text = api.said(max_tokens=200, response_format={"type": "json_object"})
    assert isinstance(json.loads(text), dict)


@forms("a schema with const gives the constant", L)
def _(api: Api) -> None:
    fields = {"type": "json_schema", "json_schema": {"schema": {"const": "foooooo"}}}
    assert api.said(max_tokens=20, response_format=fields) == '"foooooo"'


@forms("a stream of structured output is a whole instance", S, V)
def _(api: Api) -> None:
    assert set(json.loads(joined(api.chunks(max_tokens=60, response_format=FORMAT)))) == {
        "urgent",
        "label",
    }


@forms("several answers each follow the schema", S)
def _(api: Api) -> None:
    for choice in api.chat(n=3, temperature=1.0, max_tokens=60, response_format=FORMAT)["choices"]:
        assert set(json.loads(choice["message"]["content"])) == {"urgent", "label"}


@forms("a choice is one of the choices", V)
def _(api: Api) -> None:
    assert api.said(structured_outputs={"choice": ["red", "green"]}) in ("red", "green")
    assert api.text(guided_choice=["red", "green"])["choices"][0]["text"] in ("red", "green")


@forms("a regular expression is matched", V, S)
def _(api: Api) -> None:
    pattern = r"[0-9]{3}-[a-f]{2}"
    for fields in ({"structured_outputs": {"regex": pattern}}, {"regex": pattern}):
        assert re.fullmatch(pattern, api.said(max_tokens=20, **fields))


@forms("a regular expression of JSON over several lines is matched", S)
def _(api: Api) -> None:
    pattern = '\\{\\n   "name": "[a-z]{1,8}",\\n   "population": [0-9]{1,6}\\n\\}'
    assert set(json.loads(api.said(max_tokens=60, regex=pattern))) == {"name", "population"}


@forms("a grammar in GBNF is followed", L)
def _(api: Api) -> None:
    assert api.said(max_tokens=20, grammar='root ::= "a"{5,5}') == "aaaaa"


@forms("a grammar in EBNF is followed", S, V)
def _(api: Api) -> None:
    text = api.said(max_tokens=20, ebnf='root ::= "Hello" | "Hi" | "Hey"')
    assert text in ("Hello", "Hi", "Hey")


@forms("a structural tag holds what stands between its marks to a schema", S, V)
def _(api: Api) -> None:
    tag = {"begin": "<f>", "schema": VERDICT, "end": "</f>"}
    asked = {"type": "structural_tag", "structures": [tag], "triggers": ["<f>"]}
    assert api.said(response_format=asked)


for _says, _fields, *_peers in [
    ("a response_format of an unknown type is refused", {"response_format": {"type": "sound"}}, L),
    ("json_schema without a schema is refused", {"response_format": {"type": "json_schema"}}, V),
    (
        "a schema that is a number is refused",
        {"response_format": {"type": "json_object", "schema": 123}},
        L,
    ),
    (
        "a schema whose type is a number is refused",
        {"response_format": {"type": "json_object", "schema": {"type": 123}}},
        L,
    ),
    (
        "a schema of an unknown type is refused",
        {"response_format": {"type": "json_object", "schema": {"type": "hiccup"}}},
        L,
    ),
    (
        "a schema with a property that is no schema is refused",
        {"structured_outputs": {"json": {"type": "object", "properties": {"foo": "bar"}}}},
        V,
    ),
    ("a broken regular expression is refused", {"structured_outputs": {"regex": "[.*"}}, V),
    (
        "a regular expression that is an object is refused",
        {"structured_outputs": {"regex": {"1": "a"}}},
        V,
    ),
    ("a broken grammar is refused", {"structured_outputs": {"grammar": "root ::= missing"}}, V),
    (
        "two constraints at once are refused",
        {"structured_outputs": {"regex": "a", "choice": ["b"]}},
        V,
    ),
    ("an empty list of choices is refused", {"structured_outputs": {"choice": []}}, V),
]:
    forms.refused(_says, CHAT, _fields, *_peers)


def call_of(answer: dict[str, Any]) -> dict[str, Any]:
    (call,) = answer["choices"][0]["message"]["tool_calls"]
    return call


@tools("a call has id, type, name and arguments as JSON, and finish_reason tool_calls", V, L, S)
def _(api: Api) -> None:
    answer = api.obey(ASKED, tools=[TOOL])
    call = call_of(answer)
    assert (call["type"], call["function"]["name"]) == ("function", "forecast")
    assert json.loads(call["function"]["arguments"]) == ARGUMENTS
    assert (bool(call["id"]), answer["choices"][0]["finish_reason"]) == (True, "tool_calls")


@tools("a streamed call: id and name first, then arguments bit by bit", V, L, S)
def _(api: Api) -> None:
    deltas = [chunk["choices"][0]["delta"] for chunk in api.obeyed(ASKED, tools=[TOOL])]
    calls = [call for delta in deltas for call in delta.get("tool_calls", [])]
    assert calls[0]["function"]["name"] == "forecast"
    assert all("name" not in call["function"] for call in calls[1:])
    assert json.loads("".join(call["function"]["arguments"] for call in calls)) == ARGUMENTS


@tools("a streamed call ends with finish_reason tool_calls, once", V, S)
def _(api: Api) -> None:
    reasons = [c["choices"][0]["finish_reason"] for c in api.obeyed(ASKED, tools=[TOOL])]
    assert [reason for reason in reasons if reason] == ["tool_calls"]


@tools("the result of a call is answered", V, L, S)
def _(api: Api) -> None:
    call = call_of(api.obey(ASKED, tools=[TOOL]))
    history = [
        {"role": "user", "content": ASKED},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call["id"], "content": RESULT},
    ]
    answer = api.obey("", messages=history, tools=[TOOL])
    assert answer["choices"][0]["message"]["content"] == REPORT


@tools("several calls in one answer, each with an id and an index", S, V)
def _(api: Api) -> None:
    other = {"type": "function", "function": {"name": "alarm", "parameters": PLACE}}
    text = "Use forecast and alarm for 3 days in Oslo."
    calls = api.obey(text, tools=[TOOL, other])["choices"][0]["message"]["tool_calls"]
    assert [call["function"]["name"] for call in calls] == ["forecast", "alarm"]
    assert len({call["id"] for call in calls}) == 2


@tools("parallel_tool_calls false is one call", V)
def _(api: Api) -> None:
    other = {"type": "function", "function": {"name": "alarm", "parameters": PLACE}}
    call_of(api.obey("forecast, alarm", tools=[TOOL, other], parallel_tool_calls=False))


@tools("without tools a call is text", L)
def _(api: Api) -> None:
    said = "<tool_call>x</tool_call>"
    assert api.obey(f"Repeat: {said}")["choices"][0]["message"]["content"] == said


@tools("tool_choice none: no call, and the model is not shown the tools", V, L, S)
def _(api: Api) -> None:
    message = api.obey("Hello.", tools=[TOOL], tool_choice="none")["choices"][0]["message"]
    assert message["content"] == "You said: Hello."


@tools("tool_choice auto may answer with text", V, L, S)
def _(api: Api) -> None:
    answer = api.obey("Repeat: No.", tools=[TOOL], tool_choice="auto")
    assert answer["choices"][0]["message"]["content"] == "No."


STRICT = {"type": "function", "function": {**TOOL["function"], "parameters": VERDICT}}


@tools("tool_choice required gives a call by the schema", V, L, S)
def _(api: Api) -> None:
    answer = api.chat(
        tools=[STRICT], tool_choice="required", max_tokens=80, parallel_tool_calls=False
    )
    assert set(json.loads(call_of(answer)["function"]["arguments"])) == {"urgent", "label"}


@tools("tool_choice of a name gives a call of that tool, whole and streamed", V, S)
def _(api: Api) -> None:
    choice = {"type": "function", "function": {"name": "forecast"}}
    fields = {"tools": [STRICT], "tool_choice": choice, "max_tokens": 80}
    assert call_of(api.chat(**fields))["function"]["name"] == "forecast"
    calls = [
        c for d in api.chunks(**fields) for c in d["choices"][0]["delta"].get("tool_calls", [])
    ]
    assert set(json.loads("".join(c["function"]["arguments"] for c in calls))) == {
        "urgent",
        "label",
    }


@tools("a text before a call is content beside it", L)
def _(api: Api) -> None:
    call = json.dumps({"name": "forecast", "arguments": ARGUMENTS})
    said = f"One moment.\n<tool_call>\n{call}\n</tool_call>"
    message = api.obey(f"Repeat: {said}", tools=[TOOL])["choices"][0]["message"]
    assert (message["content"], len(message["tool_calls"])) == ("One moment.", 1)


@tools("a call that the limit breaks off ends with length", L)
def _(api: Api) -> None:
    assert api.obey(ASKED, tools=[TOOL], max_tokens=60)["choices"][0]["finish_reason"] == "length"


@tools("a tool without parameters has empty arguments", V)
def _(api: Api) -> None:
    bare = {"type": "function", "function": {"name": "now"}}
    assert call_of(api.obey("now", tools=[bare]))["function"]["arguments"] == "{}"


for _says, _fields, *_peers in [
    ("tool_choice required without tools is refused", {"tool_choice": "required"}, V),
    (
        "tool_choice of a tool that is not there is refused",
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "x"}}},
        V,
    ),
    ("an unknown tool_choice is refused", {"tools": [TOOL], "tool_choice": "perhaps"}, V),
    ("a tool without a function is refused", {"tools": [{"type": "function"}]}, V),
    (
        "a tool of a type that the server does not run is refused",
        {"tools": [{"type": "web_search"}]},
        S,
    ),
]:
    tools.refused(_says, CHAT, _fields, *_peers)
tools.answered("an empty list of tools is none", CHAT, {"tools": []}, V)


@thoughts("reasoning is reasoning_content, apart from the content", V, L, S)
def _(api: Api) -> None:
    message = api.obey(THOUGHT)["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == ("Hm.", "Yes.")


@thoughts("reasoning is also the field reasoning", V)
def _(api: Api) -> None:
    assert api.obey(THOUGHT)["choices"][0]["message"]["reasoning"] == "Hm."


@thoughts("a stream gives reasoning first, then content", V, L, S)
def _(api: Api) -> None:
    chunks = api.obeyed(THOUGHT)
    assert (joined(chunks, "reasoning_content"), joined(chunks)) == ("Hm.", "Yes.")


@thoughts("separate_reasoning false leaves it in the content, with its marks", S)
def _(api: Api) -> None:
    message = api.obey(THOUGHT, separate_reasoning=False)["choices"][0]["message"]
    assert message["content"] == "<think>Hm.</think>Yes."


@thoughts("reasoning_format none leaves it in the content", L)
def _(api: Api) -> None:
    message = api.obey(THOUGHT, reasoning_format="none")["choices"][0]["message"]
    assert "Hm." in message["content"]


@thoughts("include_reasoning false leaves it out", V)
def _(api: Api) -> None:
    message = api.obey(THOUGHT, include_reasoning=False)["choices"][0]["message"]
    assert "reasoning_content" not in message
    assert message["content"] == "Yes."


@thoughts("enable_thinking switches it on, and off", S, V)
def _(api: Api) -> None:
    for on in (True, False):
        kwargs = {"enable_thinking": on}
        message = api.obey("Hello.", chat_template_kwargs=kwargs)["choices"][0]["message"]
        assert ("reasoning_content" in message) == on


@thoughts("usage counts the tokens of reasoning", S)
def _(api: Api) -> None:
    details = api.obey(THOUGHT)["usage"]["completion_tokens_details"]
    assert details["reasoning_tokens"] > 0
    assert api.obey("Hello.")["usage"]["completion_tokens_details"]["reasoning_tokens"] == 0


@thoughts("a call behind reasoning is a call", V, S)
def _(api: Api) -> None:
    call = json.dumps({"name": "forecast", "arguments": ARGUMENTS})
    answer = api.obey(f"Repeat: <think>Hm.</think><tool_call>{call}</tool_call>", tools=[TOOL])
    assert answer["choices"][0]["message"]["reasoning_content"] == "Hm."
    call_of(answer)


thoughts.refused(
    "a budget of reasoning whose marks are no tokens of the model is refused",
    CHAT,
    {"thinking_token_budget": 5, "chat_template_kwargs": {"enable_thinking": True}},
    V,
    L,
)
thoughts.refused(
    "a negative budget of reasoning is refused", CHAT, {"thinking_token_budget": -7}, V
)
thoughts.refused("a budget that is no number is refused", CHAT, {"thinking_token_budget": "a"}, V)
