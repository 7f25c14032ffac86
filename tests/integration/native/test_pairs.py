"""All that requests may ask for, on engines with all that an engine may do, or each two of that
with ``UNISONO_ALL_PAIRS=1``: every answer is, bit for bit, the one that the request has alone in
the plainest engine that computes the same.

Constraints, tools, reasoning, adapters, log-probabilities and several answers, by twos, are in one
batch; speculation, the prefix cache, chunked prefill, preemption, int8 in the cache and ranks are
options of engines."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from tests import adapters, checkpoints
from tests.answers import LETTERS as TOKENIZER
from tests.answers import marks_of
from tests.engines import engine as engine_of
from tests.engines import request, run
from tests.lettered import EOS, compiler, text
from tests.once import once
from tests.recorded_answers import RECORDED
from unisono.core import Request, RequestOutput, SamplingParams
from unisono.core.constraint import Constraint, ReasoningBudget
from unisono.engine import Engine
from unisono.text.parsers.forcing import forced_calls

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 3, "maxLength": 9},
        "tags": {"type": "array", "items": {"enum": ["red", "green"]}, "maxItems": 3},
    },
    "required": ["name", "tags"],
    "additionalProperties": False,
}
TOOL = {"type": "function", "function": {"name": "find", "parameters": SCHEMA}}
THOUGHT_ENDS = 90
BUDGET = 12
FREE = SamplingParams(temperature=0.0, max_tokens=60, ignore_eos=True)
HELD = SamplingParams(temperature=1.0, max_tokens=110)
LONGEST = 160
(PROMPT,) = checkpoints.prompts(25, seed=3)


@dataclass(frozen=True)
class Ask:
    """Something that a request may ask for."""

    constraint: Constraint | None = None
    params: dict[str, Any] = field(default_factory=dict)
    fields: dict[str, Any] = field(default_factory=dict)
    num_answers: int = 1


def tools() -> Constraint:
    format = next(recorded.format for recorded in RECORDED if recorded.name == "general")
    return forced_calls(format, marks_of(format, TOKENIZER), [TOOL], names=["find"], several=False)


def reasoning() -> Constraint:
    budget = ReasoningBudget(BUDGET, THOUGHT_ENDS, is_open=True)
    held = Constraint.of("regex", "[a-f]{4,9}")
    return replace(held, after_token_id=THOUGHT_ENDS, budget=budget)


ASKS = {
    "grammar": Ask(Constraint.of("schema", SCHEMA)),
    "tools": Ask(tools()),
    "reasoning": Ask(reasoning()),
    "adapter": Ask(fields={"adapter": "sql"}),
    "logprobs": Ask(params={"logprobs": 2}),
    "n": Ask(num_answers=2),
}
ENGINES: dict[str, dict[str, Any]] = {
    "speculation": {"speculate": "ngram"},
    "prefix-cache": {"prefix_cache": True},
    "chunks": {"max_num_batched_tokens": 9},
    "preemption": {"max_model_len": LONGEST},
    "kv-int8": {"kv_dtype": "int8"},
    "ranks": {"tensor_parallel": 2},
}
ALL_PAIRS = "UNISONO_ALL_PAIRS" in os.environ
MOST_RANKS = 2 if ALL_PAIRS else 1
CHANGE = ("kv-int8", "ranks")
"""Options with which an engine computes something else."""


def asked() -> list[Request]:
    """Requests that ask for nothing, for one thing, and for each two that go together."""
    found = []
    for some in [(), *combinations(ASKS, 1), *combinations(ASKS, 2)]:
        asks = [ASKS[name] for name in some]
        constraints = [ask.constraint for ask in asks if ask.constraint]
        if len(constraints) > 1:
            continue  # an answer has one at most
        params = replace(HELD, constraint=constraints[0]) if constraints else FREE
        fields: dict[str, Any] = {}
        for ask in asks:
            params = replace(params, **ask.params)
            fields |= ask.fields
        for k in range(max([1, *(ask.num_answers for ask in asks)])):
            name = f"{'+'.join(some) or 'plain'} {k}"
            found.append(request(name, PROMPT, params, seed=len(found), **fields))
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pairs")
    model = checkpoints.oracle("qwen3", head_dim=16)
    checkpoints.save(model, root / "model")
    adapters.adapt(model, root / "sql", r=3)
    return root


def build(folder: Path, names: tuple[str, ...]) -> Engine:
    options: dict[str, Any] = {"prefix_cache": False}
    for name in names:
        options |= ENGINES.get(name, {})
    if "preemption" in names:
        options["kv_memory"] = _little_memory(folder, options)
    made = engine_of(folder / "model", compiler, **options)
    made.load_adapter("sql", folder / "sql")
    return made


def _little_memory(folder: Path, options: dict[str, Any]) -> int:
    """For one and a quarter of the longest request."""
    probe = engine_of(folder / "model", kv_dtype=options.get("kv_dtype", "auto"))
    return probe.info.kv_bytes // probe.info.num_blocks * (LONGEST // 4 * 5 // 4)


def told(output: RequestOutput) -> list[Any]:
    assert output.error is None
    return [output.token_ids, output.finish_reason]


def alone(
    engine: Engine, folders: pytest.TempPathFactory, names: tuple[str, ...]
) -> dict[str, Any]:
    """Answers of requests that are in an engine one after the other."""

    def ask() -> dict[str, Any]:
        return {one.id: told(run(engine, [one])[one.id]) for one in asked()}

    return once(folders, f"alone{'-'.join(names)}", ask)  # type: ignore[no-any-return]


def engines() -> Iterator[tuple[str, ...]]:
    """All but those of ranks, whose processes take seconds to start."""
    alone = [name for name in ENGINES if name != "ranks"]
    if not ALL_PAIRS:
        yield from [(), tuple(name for name in alone if name not in CHANGE), tuple(alone)]
        return
    for count in range(3):
        yield from combinations(alone, count)


@pytest.mark.parametrize("names", engines(), ids=lambda names: "+".join(names) or "plain")
def test_engines(
    names: tuple[str, ...], folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    changing = tuple(name for name in names if name in CHANGE)
    expected = alone(build(folder, changing), tmp_path_factory, changing)
    engine = build(folder, names)
    check(engine, names, expected)


@pytest.mark.parametrize("names", [("ranks",), ("kv-int8", "ranks")][:MOST_RANKS], ids="+".join)
def test_two_ranks(
    names: tuple[str, ...], folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Alone, and with all else that an engine may do."""
    plain = build(folder, names)
    everything = ("speculation", "prefix-cache", "chunks", "preemption", *names)
    full = build(folder, everything)
    try:
        expected = alone(plain, tmp_path_factory, names)
        check(plain, names, expected)
        check(full, everything, expected)
    finally:
        plain.close()
        full.close()


def check(engine: Engine, names: tuple[str, ...], expected: dict[str, Any]) -> None:
    """Answers are the expected ones, of requests that are in flight together, and again when the
    prefix cache has them; and what the engine may do has been done."""
    done = run(engine, asked())
    cached = run(engine, asked()) if "prefix-cache" in names else done
    for answers in (done, cached):
        assert {name: told(output) for name, output in answers.items()} == expected
    for name, output in done.items():
        _check_answer(name, output)
    stats = engine.stats()
    assert ("preemption" not in names) or stats.num_preemptions
    assert ("speculation" not in names) or (stats.accepted_tokens and stats.rejected_tokens)
    assert ("prefix-cache" not in names) or any(one.num_cached_tokens for one in cached.values())


def _check_answer(name: str, output: RequestOutput) -> None:
    if "logprobs" in name:
        assert len(output.logprobs or ()) == len(output.token_ids)
    if "grammar" in name:
        assert set(json.loads(text(output.token_ids))) == {"name", "tags"}
    if "tools" in name:
        assert '"find"' in text(output.token_ids)
    if "reasoning" in name:
        assert {THOUGHT_ENDS, EOS} & set(output.token_ids[: BUDGET + 1])
    if "grammar" in name or "tools" in name or "reasoning" in name:
        assert output.token_ids[-1] == EOS
