"""Routes around those that answer: server, models, keys, and what other servers have."""

from __future__ import annotations

import json
import re

from tests.clients.behaviours.listing import ABSENT, HELLO, OTHERWISE, Api, L, S, Topic, V

server = Topic("Server, models, keys")
beyond = Topic("Further routes")


@server("/health is 200 without a key", V, L, S)
def _(api: Api) -> None:
    assert api.client.get("/health", headers={"authorization": ""}).status_code == 200


@server("/version says the version", V)
def _(api: Api) -> None:
    assert set(api.client.get("/version").json()) == {"version"}


@server("/v1/models lists names with max_model_len and root", V, L, S)
def _(api: Api) -> None:
    (card,) = api.client.get("/v1/models").json()["data"]
    assert (card["id"], card["object"], card["max_model_len"]) == ("demo", "model", 2048)
    assert card["root"]


@server("the list of models needs a key, too", L, state=OTHERWISE)
def _(api: Api) -> None:
    assert api.client.get("/v1/models", headers={"authorization": ""}).status_code == 401


@server("/models is the same list", L)
def _(api: Api) -> None:
    assert api.client.get("/models").json()["data"][0]["id"] == "demo"


@server("/v1/models/NAME is one of them, another is 404", S)
def _(api: Api) -> None:
    assert api.client.get("/v1/models/demo").json()["id"] == "demo"
    assert api.client.get("/v1/models/other").status_code == 404


@server("/metrics has counters and histograms that move", V, L, S)
def _(api: Api) -> None:
    def tokens() -> float:
        lines = api.client.get("/metrics").text
        return sum(map(float, re.findall(r"^unisono_generat\w*tokens_total\S* (\S+)", lines, re.M)))

    before = tokens()
    api.text()
    assert tokens() >= before + 8


@server("/openapi.json is a schema of the routes", V)
def _(api: Api) -> None:
    assert "/v1/chat/completions" in api.client.get("/openapi.json").json()["paths"]


@server("no key, or a wrong one, is 401 of type authentication_error", L, V)
def _(api: Api) -> None:
    for key in ("", "Bearer wrong"):
        response = api.client.post(
            "/v1/completions", json={"prompt": "a"}, headers={"authorization": key}
        )
        assert response.status_code == 401
        assert "error" in response.json()


@server("CORS: pages of this machine are let in, others by --cors-origin", V, L, state=OTHERWISE)
def _(api: Api) -> None:
    asked = {"access-control-request-method": "POST", "origin": "http://localhost:3000"}
    response = api.client.options("/v1/completions", headers=asked)
    assert response.headers["access-control-allow-origin"] == "http://localhost:3000"
    response = api.client.options(
        "/v1/completions", headers={**asked, "origin": "https://a.example"}
    )
    assert "access-control-allow-origin" not in response.headers


@server("x-request-id comes back, or a new one", V)
def _(api: Api) -> None:
    found = api.client.get("/version", headers={"x-request-id": "mine-1"})
    assert found.headers["x-request-id"] == "mine-1"
    assert api.client.get("/version").headers["x-request-id"]


@server("a body that is no JSON, or no object, is refused", V, S)
def _(api: Api) -> None:
    for content in (b"{", b"[]", b'"a"', b"null", b""):
        response = api.client.post("/v1/chat/completions", content=content)
        assert (response.status_code, "error" in response.json()) == (400, True)


@server("a body of any content type is read, but a web page's without a key", V, S, state=OTHERWISE)
def _(api: Api) -> None:
    body = json.dumps({"prompt": "a", "max_tokens": 1}).encode()
    assert api.client.post("/v1/completions", content=body).status_code == 200


@server("errors have message, type, param and code", V, S)
def _(api: Api) -> None:
    assert set(api.refused("/v1/completions", {"prompt": 5})) == {
        "message",
        "type",
        "param",
        "code",
    }


@server("an error repeats nothing that was sent", V)
def _(api: Api) -> None:
    error = api.refused("/v1/completions", {"prompt": "a", "stop": [{"secret-of-mine": 1}]})
    assert "secret-of-mine" not in json.dumps(error)


@server("a wrong method is 405, an unknown path 404 with the paths that there are", V)
def _(api: Api) -> None:
    assert api.client.get("/v1/completions").status_code == 405
    assert "/v1/completions" in api.client.get("/nowhere").json()["error"]["message"]


beyond.answered(
    "Ollama's /api/chat",
    "/api/chat",
    {"model": "demo", "messages": HELLO, "stream": False, "options": {"num_predict": 4}},
    L,
)
for _says, _path, _body, *_peers in [
    (
        "embeddings of a model that generates are refused with the way to get them",
        "/v1/embeddings",
        {"input": "a"},
        L,
        V,
    ),
    (
        "rerank of a model that generates is refused with the way to get it",
        "/v1/rerank",
        {"query": "a", "documents": ["b"]},
        L,
        V,
        S,
    ),
    (
        "score of a model that generates is refused with the way to get it",
        "/v1/score",
        {"text_1": "a", "text_2": "b"},
        V,
    ),
    ("llama.cpp's /completion is refused", "/completion", {"prompt": "a"}, L),
    ("llama.cpp's /apply-template is refused", "/apply-template", {"messages": HELLO}, L),
    ("transcriptions of audio are refused", "/v1/audio/transcriptions", {}, V),
    ("SageMaker's /invocations are refused", "/invocations", {"messages": HELLO}, V),
]:
    beyond.refused(_says, _path, _body, *_peers, offered=False)
for _says, _path, *_peers in [
    ("llama.cpp's /slots are refused", "/slots", L),
    ("llama.cpp's /props are refused", "/props", L),
    ("vLLM's /load is refused", "/load", V),
]:

    def _refused(api: Api, path: str = _path) -> None:
        response = api.client.get(path)
        assert response.status_code == 404
        assert "error" in response.json()

    beyond(_says, *_peers, state=ABSENT)(_refused)
