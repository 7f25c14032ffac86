"""The engine in virtual time: how many rows a second one core schedules, without torch.

    python benchmarks/virtual_time.py [--batch 64] [--requests 1000] [--prompt 256] [--generate 128]

Scheduler, KV cache and engine loop are those of a server; in place of the runner, a cost model
moves the clock. Prints one line of JSON: rows scheduled a second of processor time (a row is one
sequence in one step), and what happened in virtual time, which is the same on every machine.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass

from unisono.core.batch import Batch, RowResult
from unisono.core.cache import CacheTensor, LayerCache
from unisono.core.clock import ManualClock
from unisono.core.request import Request
from unisono.core.sampling import SamplingParams
from unisono.engine.engine import Engine
from unisono.engine.pages import PageLayout
from unisono.engine.scheduler import Scheduler, SchedulerConfig
from unisono.engine.stats import EngineInfo

BLOCK_SIZE = 32
STEP_S, TOKEN_S = 8e-3, 2e-5
"""A step takes so long, and each of its tokens so much more."""


class CostRunner:
    """Takes virtual time for each step and answers every sampled row with the same token."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.num_rows = 0

    def run(self, batch: Batch) -> list[RowResult]:
        self.num_rows += len(batch.rows)
        self.clock.advance(STEP_S + TOKEN_S * batch.num_tokens)
        return [RowResult([7] * row.num_logits) for row in batch.rows]

    def check(self) -> None:
        """Nothing of it can fail."""

    def close(self) -> None:
        """It holds nothing."""


@dataclass(frozen=True)
class Load:
    batch: int
    requests: int
    prompt: int
    generate: int


def make_engine(load: Load) -> Engine[CostRunner]:
    """Room for ``batch`` requests of the load at once; the shape of Qwen3-0.6B's cache."""
    kv = CacheTensor(planes=2, shape=(8, 128), dtype="bfloat16")
    pages = PageLayout.of([LayerCache(tensors=(kv,))] * 28, BLOCK_SIZE)
    length = load.prompt + load.generate
    num_blocks = 1 + load.batch * -(-length // BLOCK_SIZE)
    clock = ManualClock()
    scheduler = Scheduler(
        SchedulerConfig(
            groups=pages.groups,
            num_blocks=num_blocks,
            block_size=BLOCK_SIZE,
            max_model_len=length,
            max_num_seqs=load.batch,
            max_num_batched_tokens=max(1024, load.batch),
            max_queue=load.requests,
            eos_token_ids=frozenset({0}),
        ),
        clock,
    )
    info = EngineInfo(
        model_type="cost model",
        dtype="bfloat16",
        device="virtual time",
        max_model_len=length,
        vocab_size=32000,
        num_parameters=0,
        weight_bytes=0,
        step_weight_bytes=0,
        block_size=BLOCK_SIZE,
        num_blocks=num_blocks,
        kv_bytes=num_blocks * pages.bytes_per_block,
        activation_bytes=0,
        kv_dtype="bfloat16",
    )
    return Engine(scheduler, CostRunner(clock), info, clock)


def run(load: Load) -> dict[str, float]:
    engine = make_engine(load)
    params = SamplingParams(max_tokens=load.generate, temperature=0.0)
    for number in range(load.requests):
        prompt = tuple(1 + (number * 7919 + i * 31) % 31999 for i in range(load.prompt))
        engine.add(Request(id=str(number), prompt_token_ids=prompt, params=params))
    began = time.process_time()
    while engine.has_work:
        engine.step()
    processor_s = time.process_time() - began
    stats = engine.stats()
    return {
        "rows_per_s": engine.runner.num_rows / processor_s,
        "processor_s": processor_s,
        "rows": engine.runner.num_rows,
        "steps": stats.steps,
        "generated_tokens": stats.generated_tokens,
        "prompt_tokens": stats.prompt_tokens,
        "preemptions": stats.num_preemptions,
        "virtual_s": engine.clock.now(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--prompt", type=int, default=256)
    parser.add_argument("--generate", type=int, default=128)
    load = Load(**vars(parser.parse_args()))
    print(json.dumps({**asdict(load), **run(load), "torch": "torch" in sys.modules}))


if __name__ == "__main__":
    main()
