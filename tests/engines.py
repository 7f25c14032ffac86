"""Engines for tests: small, explicit, and run to the end in one call."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from unisono.core import EngineConfig, Request, RequestOutput, SamplingParams
from unisono.engine import Engine, build_engine
from unisono.engine.building import MakeCompiler

GREEDY = SamplingParams(temperature=0.0, max_tokens=24, ignore_eos=True)


def engine(folder: Path, make_compiler: MakeCompiler | None = None, **options: Any) -> Engine:
    """float32, small blocks and a small budget, so that blocks and chunks have edges to meet."""
    defaults: dict[str, Any] = {
        "device": "cpu",
        "dtype": "float32",
        "kv_memory": 8 * 2**20,
        "block_size": 4,
        "max_num_seqs": 8,
        "max_num_batched_tokens": 64,
    }
    return build_engine(folder, EngineConfig(**{**defaults, **options}), None, make_compiler)


def request(
    request_id: object, prompt: Iterable[int], params: SamplingParams = GREEDY, **fields: Any
) -> Request:
    return Request(id=str(request_id), prompt_token_ids=tuple(prompt), params=params, **fields)


def run(engine: Engine, requests: Iterable[Request]) -> dict[str, RequestOutput]:
    """Each request's outputs added up."""
    totals: dict[str, RequestOutput] = {}
    for one in requests:
        engine.add(one)
        totals[one.id] = RequestOutput(one.id, [], logprobs=[])
    while engine.has_work:
        for output in engine.step():
            total = totals[output.request_id]
            total.token_ids += output.token_ids
            total.logprobs += output.logprobs or []
            total.prompt_logprobs = output.prompt_logprobs or total.prompt_logprobs
            total.finish_reason = output.finish_reason
            total.error = output.error
            total.num_cached_tokens = output.num_cached_tokens
            total.stop_token_id = output.stop_token_id
            total.pooled = output.pooled or total.pooled
    return totals


def answers(engine: Engine, prompts: list[list[int]], params: SamplingParams = GREEDY) -> list[Any]:
    """Token ids of each prompt's answer, all prompts in flight together."""
    done = run(engine, [request(i, prompt, params) for i, prompt in enumerate(prompts)])
    return [done[str(i)].token_ids for i in range(len(prompts))]
