"""The routes that embed, score and rerank.

Knows the shape of responses; the work is elsewhere (``starting.py``).
"""

from __future__ import annotations

import base64
from typing import Any, cast

from fastapi import APIRouter, Request
from fastapi.responses import Response

from unisono.core.pooling import read_numbers
from unisono.server.openai.openapi import ERRORS, describe_body
from unisono.server.openai.streaming import to_json
from unisono.server.pooling.body_schema import EmbeddingRequest, RerankRequest, ScoreRequest
from unisono.server.pooling.response_schema import EmbeddingList, Reranking, ScoreList
from unisono.server.pooling.starting import embed, score
from unisono.server.service import Service

router = APIRouter()


@router.post(
    "/v1/embeddings",
    response_model=EmbeddingList,
    responses=ERRORS,
    openapi_extra=describe_body(EmbeddingRequest),
)
async def create_embeddings(request: Request) -> Response:
    """A vector for each text."""
    service: Service = request.app.state.service
    body = await service.read(request, EmbeddingRequest)
    head = service.head("embd", body.model)
    found = await embed(
        request,
        body,
        one_by_one(body.input),
        name=head["id"],
        dimensions=body.dimensions,
        prompt_name=body.prompt_name,
    )

    def render() -> str:
        """Numbers are written in as many digits as tell one float32 from all others."""
        as_text = body.encoding_format == "base64"
        data = ",".join(
            f'{{"object":"embedding","index":{index},"embedding":'
            f"{_base64(vector) if as_text else digits(vector)}}}"
            for index, vector in enumerate(found.vectors)
        )
        fields = to_json({**head, "object": "list", "usage": _usage(found.num_tokens)})
        return f'{fields[:-1]},"data":[{data}]}}'

    text = await service.encoder.in_thread(render, sum(map(len, found.vectors)))
    return Response(text, media_type="application/json")


@router.post(
    "/v1/score",
    response_model=ScoreList,
    responses=ERRORS,
    openapi_extra=describe_body(ScoreRequest),
)
async def create_scores(request: Request) -> Response:
    """A score for each pair of texts."""
    service: Service = request.app.state.service
    body = await service.read(request, ScoreRequest)
    head = service.head("score", body.model)
    found = await score(
        request,
        body,
        _listed(body.text_1),
        _listed(body.text_2),
        name=head["id"],
        instruction=body.instruction,
        is_search=False,
    )
    data = [
        {"object": "score", "index": index, "score": value}
        for index, value in enumerate(found.scores)
    ]
    return _json({**head, "object": "list", "data": data, "usage": _usage(found.num_tokens)})


@router.post(
    "/v1/rerank",
    response_model=Reranking,
    responses=ERRORS,
    openapi_extra=describe_body(RerankRequest),
)
@router.post(
    "/v2/rerank",
    response_model=Reranking,
    responses=ERRORS,
    openapi_extra=describe_body(RerankRequest),
)
async def rerank(request: Request) -> Response:
    """The documents in the order in which they answer a query."""
    service: Service = request.app.state.service
    body = await service.read(request, RerankRequest)
    head = service.head("rerank", body.model)
    texts = [document.text for document in body.documents]
    found = await score(
        request,
        body,
        [body.query],
        texts,
        name=head["id"],
        instruction=body.instruction,
        is_search=True,
    )
    results: list[dict[str, Any]] = [
        {"index": index, "relevance_score": found.scores[index]}
        for index in sorted(range(len(texts)), key=lambda index: -found.scores[index])
    ][: body.top_n]
    if body.return_documents is not False:
        for result in results:
            result["document"] = {"text": texts[result["index"]]}
    usage = _usage(found.num_tokens)
    return _json({"id": head["id"], "model": head["model"], "results": results, "usage": usage})


def one_by_one(given: str | list[str] | list[int] | list[list[int]]) -> list[str | list[int]]:
    """The four forms of ``input`` as one."""
    if isinstance(given, str) or isinstance(given[0], int):
        return [given]
    return cast("list[str | list[int]]", given)


def _listed(given: str | list[str]) -> list[str]:
    return [given] if isinstance(given, str) else given


def _usage(num_tokens: int) -> dict[str, int]:
    return {"prompt_tokens": num_tokens, "total_tokens": num_tokens}


def _base64(vector: bytes) -> str:
    return f'"{base64.b64encode(vector).decode()}"'


def digits(vector: bytes) -> str:
    """The numbers as JSON."""
    numbers = read_numbers(vector)
    return "[" + ("%.9g," * len(numbers) % tuple(numbers))[:-1] + "]"


def _json(content: dict[str, Any]) -> Response:
    return Response(to_json(content), media_type="application/json")
