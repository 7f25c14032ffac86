"""Responses of the routes that embed, score and rerank."""

from __future__ import annotations

from typing import Literal

from unisono.server.openai.response_schema import Exact


class PooledUsage(Exact):
    prompt_tokens: int
    total_tokens: int


class Embedding(Exact):
    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str
    """A text is base64 of float32, little-endian."""


class EmbeddingList(Exact):
    id: str
    object: Literal["list"] = "list"
    created: int
    model: str
    data: list[Embedding]
    usage: PooledUsage


class Score(Exact):
    object: Literal["score"] = "score"
    index: int
    score: float


class ScoreList(Exact):
    id: str
    object: Literal["list"] = "list"
    created: int
    model: str
    data: list[Score]
    usage: PooledUsage


class DocumentText(Exact):
    text: str


class RankedDocument(Exact):
    index: int
    relevance_score: float
    document: DocumentText | None = None
    """Left out where the client does not want it."""


class Reranking(Exact):
    id: str
    model: str
    results: list[RankedDocument]
    usage: PooledUsage
