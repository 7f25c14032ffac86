"""Load for a while: answers stay what they were, and memory comes back."""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable
from dataclasses import replace

import torch

from unisono.conformance import inputs
from unisono.conformance.checks.model import checkpoint, engine_dtype, prompt, truths
from unisono.conformance.context import Context
from unisono.conformance.expected import plain as expected
from unisono.conformance.expected.bounds import U32
from unisono.conformance.expected.comparing import Expected, Mismatch, exactly
from unisono.conformance.registry import check
from unisono.conformance.reproductions import demos
from unisono.conformance.tiny_model import SMALL
from unisono.core.config import EngineConfig
from unisono.core.request import Request
from unisono.core.sampling import SamplingParams
from unisono.engine.building import build_engine
from unisono.engine.engine import Engine
from unisono.engine.model_runner import ModelRunner

_PROBE = 33


class Load:
    """Random requests that come and go, some of them aborted, and a probe among them.

    Raises:
        Mismatch: a probe's answer is not the one it should be.
    """

    def __init__(self, engine: Engine[ModelRunner], context: Context) -> None:
        self.engine = engine
        self.random = random.Random(0)
        self.context = context
        self.answers: dict[str, list[int]] = {}
        self.count = self.probes = self.aborted = 0

    def step(self) -> None:
        """Perhaps a new request, perhaps an abort, and a step of the engine."""
        if self.random.random() < 0.5 and len(self.answers) < 12:
            self._add()
        if self.answers and self.random.random() < 0.03:
            victim = self.random.choice(list(self.answers))
            if not victim.startswith("probe"):
                self.engine.abort(victim)
                del self.answers[victim]
                self.aborted += 1
        self._take()

    def drain(self) -> None:
        """No further requests; all under way end."""
        while self.engine.has_work:
            self._take()

    def _add(self) -> None:
        self.count += 1
        probe = self.count % 5 == 1
        name = f"{'probe' if probe else 'request'} {self.count}"
        length = _PROBE if probe else self.random.randint(1, 70)
        params = SamplingParams(temperature=0.0, max_tokens=12, ignore_eos=True)
        if not probe:
            params = replace(params, temperature=1.0, max_tokens=self.random.randint(1, 40))
        token_ids = prompt(length, seed=0 if probe else self.random.randint(1, 50))
        self.answers[name] = []
        self.engine.add(
            Request(id=name, prompt_token_ids=tuple(token_ids), params=params, seed=self.count)
        )

    def _take(self) -> None:
        for output in self.engine.step():
            if output.error is not None:
                raise Mismatch(f"{output.request_id} fails: {output.error}")
            answer = self.answers.get(output.request_id)
            if answer is None:
                continue
            answer += output.token_ids
            if output.finish_reason:
                del self.answers[output.request_id]
                if output.request_id.startswith("probe"):
                    self._judge(answer)

    def _judge(self, answer: list[int]) -> None:
        self.probes += 1
        (wanted,) = truths(SMALL, engine_dtype(self.context), (_PROBE,))
        wrong = wanted.differs(answer)
        if wrong:
            raise Mismatch(f"probe {self.probes}, after {self.count} requests: {wrong}")


@check(
    "soak.load", "an engine under random load: right answers, and memory that returns", seconds=400
)
def load(context: Context) -> None:
    seconds = 4.0 if context.quick else 60.0
    config = EngineConfig(
        device=context.spec,
        dtype=str(engine_dtype(context)).removeprefix("torch."),
        kv_memory=4 * 2 * SMALL.num_kv_heads * SMALL.head_dim * SMALL.num_layers * 4 * 60,
        block_size=4,
        max_num_seqs=8,
        max_num_batched_tokens=64,
        max_model_len=120,
    )
    truths(SMALL, engine_dtype(context), (_PROBE,))
    with checkpoint(SMALL) as folder:
        for words, share in (("to begin with", 0.25), ("again", 0.75)):
            with context.case(words):
                before = _memory(context)
                _soak(context, build_engine(folder, config), seconds * share)
                _check_memory(context, before, warm=words == "again")


def _soak(context: Context, engine: Engine[ModelRunner], seconds: float) -> None:
    free = engine.stats().num_free_blocks
    traffic = Load(engine, context)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or traffic.probes < 3 or not engine.stats().num_preemptions:
        traffic.step()
    traffic.drain()
    stats = engine.stats()
    if stats.num_running or stats.num_waiting or stats.num_free_blocks != free:
        raise Mismatch(f"of {free} free blocks {stats.num_free_blocks} came back")
    engine.close()


def _memory(context: Context) -> int | None:
    gc.collect()
    context.hardware.synchronize()
    return context.hardware.memory_use().allocated


def _check_memory(context: Context, before: int | None, *, warm: bool) -> None:
    """After the first time a device may keep what its libraries need for ever."""
    after = _memory(context)
    if before is None or after is None:
        return
    if after > before + (0 if warm else 64 << 20):
        raise Mismatch(f"{after - before} bytes of device memory did not come back")


@check("soak.drift", "the same ops give the same results the thousandth time")
def drift(context: Context) -> None:
    a, b = (inputs.normal(33, 33, seed=i) for i in (1, 2))
    x, y = context.put(a), context.put(b)
    work: dict[str, tuple[Callable[[], torch.Tensor], Expected]] = {
        "products": (lambda: x @ y, expected.linear(a, b.T)),
        "sums": (lambda: x + y, Expected((a.double() + b.double()), U32 * (a + b).abs().double())),
        "softmax": (lambda: torch.softmax(x, -1), expected.softmax(a)),
        "copies": (lambda: x.clone(), exactly(a)),
    }
    context.demonstrate(demos.results_do_not_drift)
    rounds = 4000 if context.quick else 20_000
    for words, (once, want) in work.items():
        with context.case(f"{words}, {rounds} times"):
            _drift(context, once, want, rounds)


def _drift(context: Context, once: Callable[[], torch.Tensor], want: Expected, rounds: int) -> None:
    first = once()
    try:
        context.judge(first, want)
    except Mismatch as wrong:
        wrong.detail = f"wrong already, after the other checks of this process: {wrong.detail}"
        raise
    for i in range(rounds):
        again = once()
        if i % 50 == 49:
            try:
                context.judge(again, want)
            except Mismatch as wrong:
                wrong.detail = f"after {i + 1} times: {wrong.detail}"
                raise
