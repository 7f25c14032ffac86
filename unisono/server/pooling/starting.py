"""From a checked body to numbers: limits, token ids, engine. Knows nothing of responses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from fastapi import Request

from unisono.core.errors import InvalidRequestError
from unisono.core.pooling import Pooling, read_numbers
from unisono.server.api_error import bad_request
from unisono.server.pooling.body_schema import PooledBody
from unisono.server.pooling.running import PooledRun
from unisono.server.service import Service
from unisono.text.scoring import ScoreJob, paired, score_job

T = TypeVar("T")


@dataclass(frozen=True)
class Embedded:
    vectors: list[bytes]
    """Float32, little-endian."""
    num_tokens: int


@dataclass(frozen=True)
class Scored:
    scores: list[float]
    num_tokens: int


async def embed(
    request: Request,
    body: PooledBody,
    inputs: Sequence[str | Sequence[int]],
    *,
    name: str,
    dimensions: int | None = None,
    prompt_name: str | None = None,
) -> Embedded:
    """The vectors of texts, or of token ids.

    Args:
        name: id of the response.

    Raises:
        ApiError, UnisonoError: what is wrong, or why it cannot be answered now.
    """
    service: Service = request.app.state.service
    pooled = service.pooled
    pooled.role.check("embed")
    _check(request, body, inputs, dimensions)
    prompt, cut = pooled.role.prompt(prompt_name), body.cut(pooled.context)

    def encode() -> list[list[int]]:
        return [
            pooled.text(one, prompt=prompt, cut=cut)
            if isinstance(one, str)
            else pooled.token_ids(one, cut)
            for one in inputs
        ]

    token_ids = await _in_thread(service, encode, inputs)
    vectors = await _run(request, body, name, token_ids, pooled.vector_pooling(dimensions))
    return Embedded(vectors, sum(map(len, token_ids)))


async def score(
    request: Request,
    body: PooledBody,
    first: Sequence[str],
    second: Sequence[str],
    *,
    name: str,
    instruction: str | None,
    is_search: bool,
) -> Scored:
    """A score for each pair of texts; arguments and errors as of ``embed`` and ``score_job``."""
    service: Service = request.app.state.service
    pooled = service.pooled
    pooled.role.check("rerank", "embed")
    _check(request, body, [*first, *second], param=None)
    cut = body.cut(pooled.context)

    def encode() -> ScoreJob:
        pairs = paired(first, second)
        try:
            return score_job(pooled, *pairs, instruction=instruction, cut=cut, is_search=is_search)
        except InvalidRequestError as error:
            error.param = None if error.param == "input" else error.param  # no field of this body
            raise

    job = await _in_thread(service, encode, [*first, *second])
    pooled_bytes = await _run(request, body, name, job.token_ids, job.pooling)

    def read() -> list[float]:
        return job.scores([read_numbers(one) for one in pooled_bytes])

    scores = await service.encoder.in_thread(read, sum(map(len, pooled_bytes)))
    return Scored(scores, sum(map(len, job.token_ids)))


def _check(
    request: Request,
    body: PooledBody,
    inputs: Sequence[str | Sequence[int]],
    dimensions: int | None = None,
    *,
    param: str | None = "input",
) -> None:
    """Refuses before any work is done."""
    service: Service = request.app.state.service
    limits, facts = service.settings.limits, service.engine.facts
    if len(inputs) > limits.inputs:
        raise bad_request(
            f"At most {limits.inputs} texts in one request on this server, not {len(inputs)}.",
            param=param,
        )
    size = facts.hidden_size
    if dimensions is not None and dimensions > size:
        raise bad_request(
            f"dimensions: this model's vectors have {size} numbers, not {dimensions}.",
            param="dimensions",
        )
    if 4 * len(inputs) * (dimensions or size) > limits.vector_bytes:
        raise bad_request(
            "So many numbers are too much for one request: send fewer texts, or ask for fewer"
            " dimensions.",
            param=param,
        )
    most = body.truncate_prompt_tokens
    if most == 0 or (most or 0) > service.pooled.context:
        raise bad_request(
            f"Keep 1 to {service.pooled.context} tokens, or -1 for as many as there may be.",
            param="truncate_prompt_tokens",
        )
    service.check_room(min(len(inputs), _wave(service)), request.state.tenant)


def _wave(service: Service) -> int:
    return min(service.settings.engine.max_num_seqs, service.settings.limits.answers)


async def _in_thread(
    service: Service, work: Callable[[], T], inputs: Sequence[str | Sequence[int]]
) -> T:
    return await service.encoder.in_thread(work, sum(map(len, inputs)))


async def _run(
    request: Request, body: PooledBody, name: str, token_ids: list[list[int]], how: Pooling
) -> list[bytes]:
    service: Service = request.app.state.service
    request.state.body.close()
    run = PooledRun(
        engine=service.engine,
        metrics=service.metrics,
        name=name,
        wave=_wave(service),
        priority=body.priority or 0,
        tenant=request.state.tenant,
        cache_salt=body.cache_salt or "",
        adapter=service.adapter(body.model),
    )
    request.state.visit.hold(run)
    return await run.numbers(token_ids, how)
