"""Engine, scheduler, KV cache and a cost model in place of the runner, in virtual time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from unisono.core import Batch, CacheGroup, ManualClock, Request, RowResult, SamplingParams
from unisono.engine import Engine, EngineInfo
from unisono.engine.scheduler import Scheduler, SchedulerConfig

BENCHMARK = Path(__file__).parents[3] / "benchmarks" / "virtual_time.py"
INFO = EngineInfo(
    model_type="none",
    dtype="float32",
    device="none",
    max_model_len=64,
    vocab_size=100,
    num_parameters=0,
    weight_bytes=0,
    step_weight_bytes=0,
    block_size=4,
    num_blocks=40,
    kv_bytes=0,
    activation_bytes=0,
    kv_dtype="float32",
)


class CostRunner:
    """One second a step; request ``i``'s tokens are all 10 + i."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock

    def run(self, batch: Batch) -> list[RowResult]:
        self.clock.advance(1.0)
        return [RowResult([10 + int(row.request_id)] * row.num_logits) for row in batch.rows]

    def check(self) -> None: ...

    def close(self) -> None: ...


def engine(max_num_seqs: int) -> Engine[CostRunner]:
    clock = ManualClock()
    config = SchedulerConfig(
        groups=(CacheGroup(kind="full", layers=(0,)),),
        num_blocks=INFO.num_blocks,
        block_size=INFO.block_size,
        max_model_len=INFO.max_model_len,
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=16,
        max_queue=10,
        eos_token_ids=frozenset({0}),
    )
    return Engine(Scheduler(config, clock), CostRunner(clock), INFO, clock)


def test_requests_end_when_the_cost_model_says() -> None:
    """16 prompt tokens a step, then a token a step; the third request waits for a seat."""
    one = engine(max_num_seqs=2)
    for name, num_prompt, num_tokens in (("0", 8, 3), ("1", 24, 2), ("2", 4, 2)):
        params = SamplingParams(max_tokens=num_tokens)
        one.add(Request(id=name, prompt_token_ids=(20 + int(name),) * num_prompt, params=params))
    ended: dict[str, float] = {}
    tokens: dict[str, list[int]] = {}
    waits = []
    while one.has_work:
        waits.append(one.stats().oldest_wait_s)
        for output in one.step():
            tokens.setdefault(output.request_id, []).extend(output.token_ids)
            if output.finish_reason:
                ended[output.request_id] = one.clock.now()
    assert tokens == {"0": [10] * 3, "1": [11] * 2, "2": [12] * 2}
    assert ended == {"0": 3.0, "1": 4.0, "2": 5.0}
    assert waits == [0.0, 1.0, 2.0, 3.0, 0.0]
    assert one.timings.steps == one.stats().steps == 5
    assert one.timings.schedule_s == one.timings.update_s == 0.0


def test_the_benchmark_schedules_every_token_without_torch() -> None:
    options = ["--batch", "8", "--requests", "20", "--prompt", "48", "--generate", "16"]
    done = subprocess.run(
        [sys.executable, BENCHMARK, *options], check=True, capture_output=True, text=True
    )
    found = json.loads(done.stdout)
    assert found["torch"] is False
    assert (found["generated_tokens"], found["prompt_tokens"]) == (20 * 16, 20 * 48)
    assert found["preemptions"] == 0
    assert found["rows"] == 20 * 16, "a prompt of 48 tokens fits a step"
    assert found["steps"] == 3 * 16
