"""Streams of chats and completions."""

from __future__ import annotations

from typing import Any

from tests.clients.behaviours.listing import Api, L, S, Topic, V, joined

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
streams = Topic("Streams")


@streams("a streamed chat, put together, is the whole one", V, L, S)
def _(api: Api) -> None:
    assert joined(api.chunks()) == api.said()


@streams("a streamed completion, put together, is the whole one", V, L)
def _(api: Api) -> None:
    pieces = [chunk["choices"][0]["text"] for chunk in api.stream(TEXT)]
    assert "".join(pieces) == api.text()["choices"][0]["text"]


@streams("the first event has the role, and no other has it", L, S)
def _(api: Api) -> None:
    deltas = [chunk["choices"][0]["delta"] for chunk in api.chunks()]
    assert ["role" in delta for delta in deltas] == [True] + [False] * (len(deltas) - 1)


@streams("all events have one id, the model's name and the fingerprint", L)
def _(api: Api) -> None:
    chunks = api.chunks()
    assert {(c["model"], bool(c["system_fingerprint"])) for c in chunks} == {("demo", True)}
    assert len({chunk["id"] for chunk in chunks}) == 1


@streams("finish_reason comes once, in the last event", V, S)
def _(api: Api) -> None:
    for chunks in (api.chunks(), api.stream(TEXT)):
        reasons = [chunk["choices"][0]["finish_reason"] for chunk in chunks]
        assert reasons == [None] * (len(reasons) - 1) + ["length"]


@streams("each of several answers has one finish_reason", V, S)
def _(api: Api) -> None:
    choices = [choice for chunk in api.chunks(n=3) for choice in chunk["choices"]]
    ended = sorted(choice["index"] for choice in choices if choice["finish_reason"])
    assert ended == [0, 1, 2]


@streams("several prompts stream into one, by index", V, S)
def _(api: Api) -> None:
    texts = ["", ""]
    for chunk in api.stream(TEXT, prompt=["The parcel"] * 2):
        texts[chunk["choices"][0]["index"]] += chunk["choices"][0]["text"]
    assert texts[0] == texts[1] != ""


@streams("echo streams the prompt first", S)
def _(api: Api) -> None:
    assert api.stream(TEXT, echo=True)[0]["choices"][0]["text"].startswith("The parcel")


@streams("the mark [DONE] ends a stream", V, L, S)
def _(api: Api) -> None:
    body = {"prompt": "a", "max_tokens": 1, "stream": True}
    assert api.client.post(TEXT, json=body).text.endswith("data: [DONE]\n\n")


@streams("without include_usage no event has usage", V)
def _(api: Api) -> None:
    for options in ({}, {"include_usage": False}):
        assert all("usage" not in chunk for chunk in api.chunks(stream_options=options))


@streams("include_usage adds one event with usage and no choices", V, L, S)
def _(api: Api) -> None:
    for path in (CHAT, TEXT):
        *others, last = api.stream(path, stream_options={"include_usage": True})
        assert last["choices"] == []
        assert last["usage"]["completion_tokens"] == 8
        assert not any(chunk.get("usage") for chunk in others)


@streams("continuous_usage_stats adds usage so far to every event", V, S)
def _(api: Api) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    counts = [c["usage"]["completion_tokens"] for c in api.chunks(stream_options=options)]
    assert counts == sorted(counts)
    assert counts[-1] == 8


@streams("continuous_usage_stats alone adds nothing", V)
def _(api: Api) -> None:
    options = {"include_usage": False, "continuous_usage_stats": True}
    assert all("usage" not in chunk for chunk in api.stream(TEXT, stream_options=options))


@streams("a stop text is not half shown", L, V)
def _(api: Api) -> None:
    whole = api.said(max_tokens=40)
    stop = whole[12:16]
    assert joined(api.chunks(max_tokens=40, stop=[stop])) == whole.partition(stop)[0]


@streams("characters of several tokens come whole", L, V)
def _(api: Api) -> None:
    chunks = api.obeyed("Repeat: 媽 🤗 é")
    assert joined(chunks) == "媽 🤗 é"
    assert not any("\ufffd" in str(chunk) for chunk in chunks)


@streams("return_token_ids gives the prompt's once and the answer's bit by bit", V)
def _(api: Api) -> None:
    chunks = api.chunks(return_token_ids=True)
    assert ["prompt_token_ids" in chunk for chunk in chunks].count(True) == 1
    ids = [one for chunk in chunks for one in chunk["choices"][0].get("token_ids") or []]
    assert ids == api.chat(return_token_ids=True)["choices"][0]["token_ids"]


@streams("what is wrong with a request is its status, before any event", V)
def _(api: Api) -> None:
    error = api.refused(TEXT, {"prompt": "a", "stream": True, "logprobs": 30})
    assert error["param"] == "logprobs"


@streams("a client that leaves ends its work, and others are answered", V)
def _(api: Api) -> None:
    body: dict[str, Any] = {"prompt": "a", "max_tokens": 1000, "ignore_eos": True, "stream": True}
    for _ in range(4):
        with api.client.stream("POST", TEXT, json=body) as response:
            next(response.iter_lines())
    assert api.text()["choices"]


for _says, _fields in [
    ("stream_options without a stream are refused", {"stream_options": {"include_usage": True}}),
    (
        "stream_options of null without a stream are refused",
        {"stream_options": {"include_usage": None}},
    ),
    (
        "continuous_usage_stats without a stream are refused",
        {"stream_options": {"continuous_usage_stats": True}},
    ),
]:
    streams.refused(_says, TEXT, _fields, V)
streams.answered(
    "stream_options of a request without a stream may be null", TEXT, {"stream_options": None}, V
)
