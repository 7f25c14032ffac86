"""Embeddings, scores and rerankings over HTTP, with a tiny model in this process."""

from __future__ import annotations

import base64
import json
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from server_fakes import KEY, LocalHost

from tests.embedders import write_embedder, write_reranker
from unisono import LLM
from unisono.core import EngineConfig
from unisono.hub.model_role import read_role
from unisono.server.app import create_app
from unisono.server.engine.wire import EngineFacts
from unisono.server.ollama.ollama_response import Embeddings
from unisono.server.settings import Limits, ServerSettings
from unisono.text import Tokenizer

TEXTS = ["hello", "something else", "你好"]
Make = Callable[..., httpx.AsyncClient]


class Served:
    """A model, its host, and clients of applications over it."""

    def __init__(self, folder: Path, task: str) -> None:
        self.role = read_role(folder, task)
        self.config = EngineConfig(
            device="cpu", dtype="float32", kv_memory=4 << 20, task=self.role.task, max_num_seqs=4
        )
        self.llm = LLM(folder, self.config)
        self.folder, self.tokenizer = folder, Tokenizer.load(folder)

        self._app = self._make_app()

    def client(self, **options: Any) -> httpx.AsyncClient:
        """Options are of ``ServerSettings``."""
        app = self._make_app(**options) if options else self._app
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(app, raise_app_exceptions=False),
            base_url="http://test",
            headers={"authorization": f"Bearer {KEY}"},
        )

    def _make_app(self, **options: Any) -> Any:
        host = LocalHost(engine=self.llm.engine)  # type: ignore[arg-type]
        info = self.llm.engine.info
        host.facts = EngineFacts(
            max_model_len=info.max_model_len,
            vocab_size=info.vocab_size,
            hidden_size=info.hidden_size,
        )
        settings = ServerSettings(
            model_folder=self.folder,
            model_name="tiny",
            api_keys=(KEY,),
            role=self.role,
            engine=self.config,
            **options,
        )
        return create_app(settings, host, self.tokenizer)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Served:
    folder = tmp_path_factory.mktemp("embedder")
    write_embedder(folder)
    return Served(folder, "auto")


@pytest.fixture(scope="module")
def reranker(tmp_path_factory: pytest.TempPathFactory) -> Served:
    folder = tmp_path_factory.mktemp("reranker")
    write_reranker(folder)
    return Served(folder, "rerank")


async def post(served: Served, path: str, **body: Any) -> dict[str, Any]:
    async with served.client() as client:
        response = await client.post(path, json=body)
    assert response.status_code == 200, response.text
    return response.json()  # type: ignore[no-any-return]


async def test_all_forms_of_input_and_both_encodings(embedder: Served) -> None:
    expected = [vector.tolist() for vector in embedder.llm.embed(TEXTS)]
    ids = [embedder.tokenizer.encode(text) for text in TEXTS]
    for given, wanted in [
        (TEXTS, expected),
        (ids, expected),
        ("hello", expected[:1]),
        (ids[0], expected[:1]),
    ]:
        whole = await post(embedder, "/v1/embeddings", model="tiny", input=given)
        assert [entry["index"] for entry in whole["data"]] == list(range(len(wanted)))
        found = [array("f", entry["embedding"]).tolist() for entry in whole["data"]]
        assert found == [pytest.approx(vector, abs=1e-6) for vector in wanted]
    assert whole["object"] == "list"
    assert whole["usage"] == {"prompt_tokens": 6, "total_tokens": 6}
    encoded = await post(embedder, "/embeddings", input="hello", encoding_format="base64")
    vector = array("f", base64.b64decode(encoded["data"][0]["embedding"])).tolist()
    assert vector == array("f", whole["data"][0]["embedding"]).tolist()


async def test_numbers_are_written_exactly(embedder: Served) -> None:
    """Nine digits tell a float32 from all others."""
    whole = await post(embedder, "/v1/embeddings", input=TEXTS, dimensions=5, user="me")
    expected = embedder.llm.embed(TEXTS, dimensions=5)
    for entry, vector in zip(whole["data"], expected, strict=True):
        assert array("f", entry["embedding"]).tolist() == pytest.approx(vector.tolist(), abs=1e-6)


async def test_more_texts_than_the_engine_has_seats(embedder: Served) -> None:
    texts = [f"text {i}" for i in range(30)]
    whole = await post(embedder, "/v1/embeddings", input=texts, prompt_name="query")
    expected = embedder.llm.embed(texts, prompt_name="query")
    for entry, vector in zip(whole["data"], expected, strict=True):
        assert entry["embedding"] == pytest.approx(vector.tolist(), abs=1e-6)


async def test_scores_and_rerankings(embedder: Served, reranker: Served) -> None:
    for served in (embedder, reranker):
        scores = await post(served, "/score", text_1="what?", text_2=TEXTS)
        expected = served.llm.score("what?", TEXTS)
        assert [entry["score"] for entry in scores["data"]] == pytest.approx(expected, abs=1e-6)
        ranked = served.llm.rerank("what?", TEXTS)
        for path in ("/rerank", "/v1/rerank", "/v2/rerank"):
            found = await post(served, path, query="what?", documents=TEXTS)
            assert [entry["index"] for entry in found["results"]] == [one.index for one in ranked]
            assert [entry["document"]["text"] for entry in found["results"]] == [
                one.document for one in ranked
            ]
    bare = await post(
        reranker,
        "/v1/rerank",
        query="what?",
        documents=[{"text": text} for text in TEXTS],
        top_n=2,
        return_documents=False,
        instruction="Is it rude?",
    )
    told = reranker.llm.rerank("what?", TEXTS, top_n=2, instruction="Is it rude?")
    assert bare["results"] == [
        {"index": one.index, "relevance_score": pytest.approx(one.score, abs=1e-6)} for one in told
    ]


async def test_texts_that_are_too_long(embedder: Served, reranker: Served) -> None:
    cut = await post(embedder, "/v1/embeddings", input="x" * 999, truncate_prompt_tokens=-1)
    assert cut["usage"]["prompt_tokens"] == 256
    few = await post(embedder, "/v1/embeddings", input="x" * 999, truncate_prompt_tokens=9)
    same = await post(embedder, "/v1/embeddings", input="x" * 8)
    assert few["data"][0]["embedding"] == pytest.approx(same["data"][0]["embedding"], abs=1e-6)
    ranked = await post(
        reranker, "/rerank", query="q", documents=["x" * 999], truncate_prompt_tokens=-1
    )
    assert ranked["usage"]["total_tokens"] == 512


EMBED, SCORE, RERANK = "/v1/embeddings", "/v1/score", "/v1/rerank"
WRONG: list[tuple[str, dict[str, Any], str, str]] = [
    (EMBED, {}, "input", "required"),
    (EMBED, {"input": ""}, "input", "empty"),
    (EMBED, {"input": []}, "input", "empty"),
    (EMBED, {"input": ["a", ""]}, "input", "empty"),
    (EMBED, {"input": [[]]}, "input[0]", "empty"),
    (EMBED, {"input": ["a", 5]}, "input[1]", "string"),
    (EMBED, {"input": 5}, "input", "a text, token ids"),
    (EMBED, {"input": None}, "input", "required"),
    (EMBED, {"input": [1, -2]}, "input[1]", "greater than or equal to 0"),
    (EMBED, {"input": [1, 99999]}, "prompt", "out of vocabulary"),
    (EMBED, {"input": "x" * 300}, "input", "at most 256 tokens"),
    (EMBED, {"input": "x" * 30_000_0}, "input", "at most 256 tokens"),
    (EMBED, {"input": [7] * 300}, "input", "one has 300"),
    (EMBED, {"input": ["x"] * 2049}, "input", "At most 2048"),
    (EMBED, {"input": ["x"] * 10_000}, "input", "not 10000"),
    (EMBED, {"input": "x", "dimensions": 65}, "dimensions", "64 numbers, not 65"),
    (EMBED, {"input": "x", "dimensions": 0}, "dimensions", "greater than or equal to 1"),
    (EMBED, {"input": "x", "dimensions": "9"}, "dimensions", "integer"),
    (EMBED, {"input": "x", "encoding_format": "int8"}, "encoding_format", "'float' or 'base64'"),
    (EMBED, {"input": "x", "prompt_name": "z"}, "prompt_name", "'query', 'document'"),
    (EMBED, {"input": "x", "truncate_prompt_tokens": 0}, "truncate_prompt_tokens", "Keep 1 to 256"),
    (EMBED, {"input": "x", "truncate_prompt_tokens": 1}, "truncate_prompt_tokens", "nothing"),
    (EMBED, {"input": "x\ud800"}, "", "UTF-8"),
    (EMBED, {"input": "x", "model": "other"}, "model", "no such model"),
    (SCORE, {"text_1": "x"}, "text_2", "required"),
    (SCORE, {"text_1": ["x", "y"], "text_2": ["z"]}, "text_1", "cannot be paired"),
    (SCORE, {"text_1": "x", "text_2": {}}, "text_2", "a text or a list of texts"),
    (SCORE, {"text_1": "x", "text_2": "y", "instruction": "z"}, "instruction", "no instruction"),
    (RERANK, {"query": "x", "documents": []}, "documents", "empty"),
    (RERANK, {"query": "x", "documents": [{"image": "y"}]}, "documents[0].text", "required"),
    (RERANK, {"query": "x", "documents": "y"}, "documents", "list"),
    (RERANK, {"query": "", "documents": ["y"]}, "", "empty"),
    (RERANK, {"query": "x", "documents": ["y"] * 2049}, "", "At most 2048"),
    (RERANK, {"query": "x", "documents": ["y"], "top_n": 0}, "top_n", "greater than or equal"),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}]}, "", "embeds texts"),
    ("/v1/completions", {"prompt": "x"}, "", "embeds texts"),
    (
        "/v1/messages",
        {"max_tokens": 5, "messages": [{"role": "user", "content": "x"}]},
        "",
        "embeds",
    ),
]


async def test_what_is_wrong_is_named(embedder: Served) -> None:
    async with embedder.client() as client:
        for path, body, param, reason in WRONG:
            content = json.dumps(body)
            response = await client.post(
                path, content=content, headers={"content-type": "application/json"}
            )
            assert response.status_code == (404 if param == "model" else 400), (path, body)
            error = response.json()["error"]
            assert reason in error["message"], (path, body, error)
            assert (error.get("param") or "") in (param, ""), (path, body, error)
        assert not embedder.llm.engine.has_work


async def test_a_server_is_bounded(embedder: Served) -> None:
    async with embedder.client(limits=Limits(vector_bytes=64 * 4 * 2)) as client:
        for texts, status in ((TEXTS, 400), (TEXTS[:2], 200)):
            response = await client.post("/v1/embeddings", json={"input": texts})
            assert response.status_code == status, response.text
    assert (
        "too much for one request"
        in (
            await embedder.client(limits=Limits(vector_bytes=64)).post(
                "/v1/embeddings", json={"input": "x"}
            )
        ).text
    )


async def test_a_model_that_generates_does_not_embed(make_client: Make) -> None:
    """Unless the operator says that it is for that."""
    async with make_client() as client:
        for path, body in ((EMBED, {"input": "x"}), (SCORE, {"text_1": "x", "text_2": "y"})):
            response = await client.post(path, json=body)
            assert response.status_code == 400
            assert "--task embed" in response.json()["error"]["message"]


async def test_a_reranker_does_not_embed(reranker: Served) -> None:
    async with reranker.client() as client:
        response = await client.post(EMBED, json={"input": "x"})
    assert response.status_code == 400
    assert "scores pairs of texts" in response.text


async def test_ollama_s_embeddings(embedder: Served, reranker: Served) -> None:
    expected = [vector.tolist() for vector in embedder.llm.embed(TEXTS)]
    found = await post(embedder, "/api/embed", model="tiny:latest", input=TEXTS)
    Embeddings.model_validate(found)
    assert found["embeddings"] == [pytest.approx(vector, abs=1e-6) for vector in expected]
    assert (found["model"], found["prompt_eval_count"]) == ("tiny:latest", 28)
    one = await post(embedder, "/api/embeddings", prompt=TEXTS[0])
    assert one["embedding"] == pytest.approx(expected[0], abs=1e-6)
    await post(embedder, "/api/embed", input="long " * 1000)
    shown = await post(embedder, "/api/show", model="tiny")
    assert shown["capabilities"] == ["embedding"]
    for served, fields in (
        (embedder, {"input": "long " * 1000, "truncate": False}),
        (embedder, {"input": []}),
        (embedder, {"input": "a", "dimensions": 10**6}),
        (reranker, {"input": "a"}),
    ):
        async with served.client() as client:
            answer = await client.post("/api/embed", json=fields)
        assert answer.status_code == 400
        assert list(answer.json()) == ["error"]
