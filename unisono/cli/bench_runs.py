"""Runs the engine on random prompts and times it. Prints nothing but a progress bar."""

from __future__ import annotations

import platform
import random
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

from unisono import __version__
from unisono.cli.bench_progress import progress_bar
from unisono.cli.bench_roofs import matmul_flops_per_s, memory_read_bytes_per_s
from unisono.core import EngineConfig, Request, SamplingParams, format_bytes
from unisono.core.errors import ConfigError, RequestFailedError
from unisono.engine import Engine, build_engine
from unisono.hardware import find_hardware

__all__ = ["Workload", "measure"]

_WARM_UP = (16, 4)


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What each request asks for, and how often the measurement is repeated."""

    num_prompt_tokens: int
    num_generated_tokens: int
    repeat: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class Run:
    """One batch from start to end. Decode figures cover the steps in which all requests decode."""

    first_token_s: float
    """Median over the requests, all of which arrive at once."""
    prefill_s: float
    """Until every request has its first token."""
    decode_s: float = 0.0
    decode_steps: int = 0
    overhead_share: float | None = None
    """Scheduling, sampling and Python, as a share of the decode steps."""


def measure(
    name: str, folder: Path, config: EngineConfig, batches: list[int], workload: Workload
) -> dict[str, Any]:
    """Everything that was measured, as JSON data; rates in bytes, operations or tokens a second.

    Raises:
        ConfigError: a batch does not fit the KV cache or the context.
    """
    hardware = find_hardware(config.device)
    with progress_bar(len(batches) * workload.repeat + 3) as advance:
        began = time.perf_counter()
        engine = build_engine(folder, config)
        load_s = time.perf_counter() - began
        for batch in batches:
            _check_fits(engine, batch, workload)
        advance("device limits")
        matmul = matmul_flops_per_s(hardware, engine.info.dtype)
        reads = [memory_read_bytes_per_s(hardware)]
        advance("warm-up")
        _run_batch(engine, _prompts(engine, 1, _WARM_UP[0], seed=-1), _WARM_UP[1])
        runs: dict[int, list[Run]] = {batch: [] for batch in batches}
        for repeat in range(workload.repeat):
            for batch in runs:
                advance(f"batch {batch}")
                seed = workload.seed + repeat
                prompts = _prompts(engine, batch, workload.num_prompt_tokens, seed=seed)
                runs[batch].append(_run_batch(engine, prompts, workload.num_generated_tokens))
        advance("device limits")
        reads.append(memory_read_bytes_per_s(hardware))
    roof = max(read["best"] for read in reads)
    return {
        "model": name,
        "engine": asdict(engine.info),
        "device": type(hardware).describe(hardware.index),
        "environment": _environment(),
        "workload": asdict(workload),
        "load_s": load_s,
        "roofs": {
            "memory_read_bytes_per_s": roof,
            "memory_reads": reads,
            "matmul_flops_per_s": matmul,
        },
        "batches": [_summary(engine, batch, runs[batch], workload, roof) for batch in runs],
    }


def _check_fits(engine: Engine, batch: int, workload: Workload) -> None:
    info = engine.info
    length = workload.num_prompt_tokens + workload.num_generated_tokens
    if length > info.max_model_len:
        raise ConfigError(
            f"{length} tokens are more than the context of {info.max_model_len}.",
            hint="Lower --prompt or --generate, or raise --kv-memory.",
        )
    blocks = batch * -(-length // info.block_size)
    if blocks > info.num_blocks:
        needed = blocks * info.kv_bytes / info.num_blocks
        raise ConfigError(
            f"Batch {batch} needs {format_bytes(needed)} of KV cache, there is"
            f" {format_bytes(info.kv_bytes)}.",
            hint="Raise --kv-memory, or lower --batch, --prompt or --generate.",
        )


def _prompts(engine: Engine, batch: int, length: int, *, seed: int) -> list[tuple[int, ...]]:
    numbers = random.Random(seed)
    return [
        tuple(numbers.randrange(engine.info.vocab_size) for _ in range(length))
        for _ in range(batch)
    ]


def _run_batch(engine: Engine, prompts: list[tuple[int, ...]], num_generated: int) -> Run:
    """All prompts at once, greedily, to the very last token."""
    params = SamplingParams(max_tokens=num_generated, temperature=0.0, ignore_eos=True)
    began = time.perf_counter()
    for index, prompt in enumerate(prompts):
        engine.add(Request(id=f"bench-{index}", prompt_token_ids=prompt, params=params))
    first_token_s: dict[str, float] = {}
    decode: tuple[float, int, float] | None = None
    decode_began = 0.0
    while engine.has_work:
        outputs = engine.step()
        now = time.perf_counter()
        for output in outputs:
            if output.error is not None:
                raise RequestFailedError(f"The engine failed: {output.error}")
            first_token_s.setdefault(output.request_id, now - began)
        if len(first_token_s) < len(prompts):
            continue
        if not decode_began:
            decode_began = now
            engine.reset_timings()
        elif not any(output.finish_reason for output in outputs):
            timings = engine.timings
            decode = (now - decode_began, timings.steps, timings.overhead_s / timings.total_s)
    prefill_s = max(first_token_s.values())
    first = median(first_token_s.values())
    if decode is None:
        return Run(first_token_s=first, prefill_s=prefill_s)
    decode_s, steps, share = decode
    return Run(
        first_token_s=first,
        prefill_s=prefill_s,
        decode_s=decode_s,
        decode_steps=steps,
        overhead_share=share,
    )


def _summary(
    engine: Engine, batch: int, runs: list[Run], workload: Workload, roof: float
) -> dict[str, Any]:
    prefill_s = median(run.prefill_s for run in runs)
    summary: dict[str, Any] = {
        "batch": batch,
        "first_token_s": median(run.first_token_s for run in runs),
        "prefill_tokens_per_s": batch * workload.num_prompt_tokens / prefill_s,
        "runs": [asdict(run) for run in runs],
    }
    if all(run.decode_steps for run in runs):
        step_s = median(run.decode_s / run.decode_steps for run in runs)
        shares = [run.overhead_share for run in runs if run.overhead_share is not None]
        summary |= {
            "time_per_token_s": step_s,
            "decode_tokens_per_s": batch / step_s,
            "memory_roof_share": engine.info.step_weight_bytes / step_s / roof,
            "overhead_share": median(shares),
        }
    return summary


def _environment() -> dict[str, Any]:
    return {
        "unisono": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "threads": torch.get_num_threads(),
    }
