"""A small model from weights to tokens, against the oracle in float64."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unisono.conformance.context import Context, NotApplicable
from unisono.conformance.expected.comparing import Expected, Mismatch
from unisono.conformance.expected.oracle import Oracle
from unisono.conformance.expected.truth import Answer, answer
from unisono.conformance.paging import make_step
from unisono.conformance.registry import check
from unisono.conformance.tiny_model import SMALL, WINDOWED, Shape, random_weights, write_checkpoint
from unisono.core.config import EngineConfig
from unisono.core.request import Request
from unisono.core.sampling import SamplingParams
from unisono.engine.building import build_engine
from unisono.engine.engine import Engine
from unisono.engine.model_runner import ModelRunner
from unisono.models.loading import LoadedModel, load_model
from unisono.models.step import StepContext

_COUNT = 12
_FEW = 4
"""Tokens behind long prompts, which take the oracle long."""
_LENGTHS = (1, 2, 15, 16, 17, 33, 50, 64)


@contextmanager
def checkpoint(shape: Shape) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        write_checkpoint(Path(name), shape)
        yield Path(name)


def prompt(length: int, *, seed: int = 0) -> list[int]:
    generator = torch.Generator().manual_seed(100 * length + seed)
    return torch.randint(3, SMALL.vocab_size, (length,), generator=generator).tolist()


def engine_dtype(context: Context) -> torch.dtype:
    """float32 where the device has it: tokens are sure for longer."""
    return torch.float32 if torch.float32 in context.dtypes else context.dtypes[0]


# -- logits -----------------------------------------------------------------------------------


@check("model.logits", "every logit of a small model, in every dtype", covers=("fuse",))
def logits(context: Context) -> None:
    for words, shape in (("query and key norms", SMALL), ("a sliding window", WINDOWED)):
        weights = random_weights(shape)
        with checkpoint(shape) as folder:
            for dtype in context.dtypes:
                name = str(dtype).removeprefix("torch.")
                with context.case(f"{name}, {words}"):
                    loaded = load_model(folder, context.hardware, dtype=name)
                    oracle = Oracle.of(shape, weights, dtype)
                    prompts = [prompt(length) for length in (1, 5, 40)]
                    expected = [oracle.expected(one) for one in prompts]
                    want = Expected(*(torch.cat(parts) for parts in zip(*expected, strict=True)))
                    context.verify(
                        lambda m, p, s: forward(context, m, p, s),
                        want,
                        dtype=torch.float32,
                        given=(
                            loaded,
                            prompts,
                            shape,
                        ),
                    )


def forward(
    context: Context, loaded: LoadedModel, prompts: Sequence[list[int]], shape: Shape
) -> Tensor:
    """All prompts in one step -> logits [T, V]."""
    put, config = context.put, loaded.model.config
    step, num_blocks = make_step(
        [(len(one), len(one)) for one in prompts], block_size=4, window=shape.window
    )
    step.slots = put(step.slots)
    size = (2, num_blocks, 4, config.num_kv_heads, config.head_dim)
    with torch.inference_mode():
        kv = torch.zeros(size, dtype=loaded.dtype, device=context.device)
        step.plan = context.ops.plan_attention(step, kv)
        positions = put(torch.tensor([p for one in prompts for p in range(len(one))]))
        token_ids = put(torch.tensor([token for one in prompts for token in one]))
        caches = [kv.clone() for _ in range(config.num_layers)]
        inside = StepContext(positions, caches, [step] * config.num_layers)
        return loaded.model.logits(loaded.model(token_ids, inside))


# -- tokens -----------------------------------------------------------------------------------


@cache
def truths(
    shape: Shape, dtype: torch.dtype, lengths: tuple[int, ...], count: int = _COUNT
) -> list[Answer]:
    oracle = Oracle.of(shape, random_weights(shape), dtype)
    return [answer(oracle, prompt(length), count) for length in lengths]


@dataclass(slots=True)
class Served:
    """Answers by request, prompt tokens found in the cache, and the engine after them."""

    answers: list[list[int]]
    cached: list[int]
    engine: Engine[ModelRunner]


def serve(
    context: Context,
    folder: Path,
    prompts: Sequence[list[int]],
    *,
    seeds: Sequence[int] = (),
    one_by_one: bool = False,
    rounds: int = 1,
    count: int = _COUNT,
    **options: Any,
) -> Served:
    """Answers of the last round."""
    fields: dict[str, Any] = {
        "kv_memory": 8 << 20,
        "block_size": 4,
        "max_num_seqs": 16,
        "max_num_batched_tokens": 256,
    }
    dtype = str(engine_dtype(context)).removeprefix("torch.")
    config = EngineConfig(device=context.spec, dtype=dtype, **{**fields, **options})
    engine = build_engine(folder, config)
    served = Served([], [], engine)
    for _ in range(rounds):
        served.answers = [[] for _ in prompts]
        served.cached = [0 for _ in prompts]
        for i, one in enumerate(prompts):
            engine.add(_request(i, one, seeds, count))
            while one_by_one and engine.has_work:
                _take(engine, served)
        while engine.has_work:
            _take(engine, served)
    return served


def _request(number: int, token_ids: list[int], seeds: Sequence[int], count: int) -> Request:
    params = SamplingParams(temperature=1.0 if seeds else 0.0, max_tokens=count, ignore_eos=True)
    seed = seeds[number] if seeds else 0
    return Request(id=str(number), prompt_token_ids=tuple(token_ids), params=params, seed=seed)


def _take(engine: Engine[ModelRunner], served: Served) -> None:
    for output in engine.step():
        if output.error is not None:
            raise Mismatch(f"request {output.request_id} fails: {output.error}")
        served.answers[int(output.request_id)] += output.token_ids
        served.cached[int(output.request_id)] = output.num_cached_tokens


def judge(
    context: Context,
    run: Callable[..., Served],
    wanted: Sequence[Answer],
    lengths: Sequence[int],
    *,
    given: Sequence[Any] = (),
) -> Served:
    """Serve and compare; where that differs, find the op that goes wrong.

    Raises:
        Mismatch: an answer differs where it is sure.
    """
    seen: list[Served] = []

    def compare(served: Served) -> None:
        for length, want, answered in zip(lengths, wanted, served.answers, strict=True):
            wrong = want.differs(answered)
            if wrong:
                raise Mismatch(f"the answer to a prompt of {length} tokens: {wrong}")
        seen.append(served)

    if not any(want.sure for want in wanted):
        raise Mismatch("no token of any answer is beyond rounding: nothing could be checked")
    context.examine(run, compare, given=given)
    return seen[0]


@check("model.tokens", "greedy answers alone, in batches, and with prompts in chunks")
def batched(context: Context) -> None:
    wanted = truths(SMALL, engine_dtype(context), _LENGTHS)
    prompts = [prompt(length) for length in _LENGTHS]
    ways: dict[str, dict[str, Any]] = {
        "one by one": {"one_by_one": True},
        "all together": {},
        "in chunks of 8 tokens": {"max_num_batched_tokens": 8, "max_num_seqs": 4},
        "blocks of the hardware's size": {"block_size": None},
    }
    with checkpoint(SMALL) as folder:
        for words, options in ways.items():
            with context.case(words):
                judge(
                    context,
                    lambda o: serve(context, folder, prompts, **o),
                    wanted,
                    _LENGTHS,
                    given=(options,),
                )
    with checkpoint(WINDOWED) as folder, context.case("a sliding window, all together"):
        wanted = truths(WINDOWED, engine_dtype(context), _LENGTHS)
        judge(context, lambda: serve(context, folder, prompts), wanted, _LENGTHS)


@check("model.prefix_cache", "answers over cached beginnings are those over fresh ones")
def prefix(context: Context) -> None:
    lengths = (16, 17, 33, 64)
    prompts = [prompt(length) for length in lengths]
    wanted = truths(SMALL, engine_dtype(context), lengths)
    with checkpoint(SMALL) as folder, context.case("the same prompts again"):
        served = judge(context, lambda: serve(context, folder, prompts, rounds=2), wanted, lengths)
        if not all(served.cached):
            raise Mismatch(f"nothing came from the cache: {served.cached}")


@check("model.preemption", "requests that had to give way are answered as if they had not")
def preempted(context: Context) -> None:
    lengths = (33, 50, 64, 17, 16, 15)
    prompts = [prompt(length) for length in lengths]
    wanted = truths(SMALL, engine_dtype(context), lengths)
    size = 2 * SMALL.num_kv_heads * SMALL.head_dim * SMALL.num_layers
    memory = 4 * size * engine_dtype(context).itemsize * 28
    with checkpoint(SMALL) as folder, context.case("a cache of 27 blocks"):
        options: dict[str, Any] = {"kv_memory": memory, "max_model_len": 80, "prefix_cache": False}
        served = judge(context, lambda: serve(context, folder, prompts, **options), wanted, lengths)
        if not served.engine.stats().num_preemptions:
            raise Mismatch("no request had to give way: nothing was checked")


@check("model.long_prompt", "a prompt over hundreds of blocks")
def long_prompt(context: Context) -> None:
    lengths = (400,) if context.quick else (700, 1500)
    for length in lengths:
        wanted = truths(SMALL, engine_dtype(context), (length,), _FEW)
        with checkpoint(SMALL) as folder, context.case(f"{length} tokens"):
            options: dict[str, Any] = {
                "block_size": 2,
                "max_num_batched_tokens": 300,
                "count": _FEW,
            }
            judge(
                context,
                lambda n, o, f: serve(context, f, [prompt(n)], **o),
                wanted,
                (length,),
                given=(
                    length,
                    options,
                    folder,
                ),
            )


@check("model.sampling", "seeds draw the tokens that they draw on any device")
def sampled(context: Context) -> None:
    lengths, seeds = (5, 17, 33), (11, 12, 13)
    dtype = engine_dtype(context)
    oracle = Oracle.of(SMALL, random_weights(SMALL), dtype)
    wanted = [
        answer(oracle, prompt(length), _COUNT, seed=seed)
        for length, seed in zip(lengths, seeds, strict=True)
    ]
    prompts = [prompt(length) for length in lengths]
    with checkpoint(SMALL) as folder, context.case("three seeds"):
        judge(context, lambda: serve(context, folder, prompts, seeds=seeds), wanted, lengths)


@check("model.graph", "a recording of the model does what the model does", optional=True)
def graph(context: Context) -> None:
    with checkpoint(SMALL) as folder:
        dtype = str(engine_dtype(context)).removeprefix("torch.")
        model = load_model(folder, context.hardware, dtype=dtype).model
    with context.case("other inputs, replayed twice"), torch.inference_mode():
        ids = context.put(torch.tensor(prompt(9)))
        out = torch.zeros(9, SMALL.vocab_size, device=context.device)

        def work() -> None:
            out.copy_(model.logits(model.embed_tokens(ids)))

        replay = context.hardware.capture(work)
        if replay is None and "graphs" in context.hardware.facts.features:
            raise Mismatch("the hardware states graphs as a feature and records nothing")
        if replay is None:
            raise NotApplicable("the hardware offers no recording")
        for seed in (1, 2):
            ids.copy_(torch.tensor(prompt(9, seed=seed)))
            replay()
            context.hardware.synchronize()
            seen = out.clone()
            work()
            if not torch.equal(seen.cpu(), out.cpu()):
                raise Mismatch("a replay over new inputs gives other results than the work itself")
