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
from unisono.cli.benching.limits import (
    count_kv_bytes,
    count_prefill_flops,
    count_weight_bytes,
    memory_read_bytes_per_s,
    products_per_s,
)
from unisono.cli.benching.progress import progress_bar
from unisono.core.config import EngineConfig, format_bytes
from unisono.core.errors import ConfigError, RequestFailedError
from unisono.core.request import Request
from unisono.core.sampling import SamplingParams
from unisono.engine.building import build_engine
from unisono.engine.engine import Engine
from unisono.engine.model_runner import ModelRunner
from unisono.hardware.discovery import find_hardware
from unisono.hardware.threads import current_threads

_WARM_UP = (16, 4)


@dataclass(frozen=True, kw_only=True)
class Workload:
    """The size of each request, and how often the measurement is repeated."""

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
    decode_tokens: int = 0
    accepted_tokens: int = 0
    """Drafted tokens that came, in all steps, and those that did not."""
    rejected_tokens: int = 0
    overhead_share: float | None = None
    """Scheduling, sampling and Python, as a share of the decode steps."""
    predicted_prefill_s: float | None = None
    """Predicted from an imitated chip's published figures, where there are such."""
    predicted_decode_s: float | None = None


def measure(
    name: str, folder: Path, config: EngineConfig, batches: list[int], workload: Workload
) -> dict[str, Any]:
    """Everything that was measured, as JSON data; rates in bytes, operations or tokens a second.

    Raises:
        ConfigError: a batch does not fit the KV cache or the context.
    """
    hardware = find_hardware(config.device)
    with progress_bar((len(batches) + 1) * workload.repeat + 3) as advance:
        began = time.perf_counter()
        engine = build_engine(folder, config)
        load_s = time.perf_counter() - began
        for batch in batches:
            _check_fits(engine, batch, workload)
        advance("device limits")
        products, products_of = products_per_s(hardware, engine.info)
        reads: list[dict[str, float]] = []
        advance("warm-up")
        _run_batch(engine, _prompts(engine, 1, _WARM_UP[0], seed=-1), _WARM_UP[1])
        runs: dict[int, list[Run]] = {batch: [] for batch in batches}
        for repeat in range(workload.repeat):
            advance("device limits")
            reads.append(memory_read_bytes_per_s(hardware))
            for batch in runs:
                advance(f"batch {batch}")
                seed = workload.seed + repeat
                prompts = _prompts(engine, batch, workload.num_prompt_tokens, seed=seed)
                runs[batch].append(_run_batch(engine, prompts, workload.num_generated_tokens))
        advance("device limits")
        reads.append(memory_read_bytes_per_s(hardware))
    roof = median(read["median"] for read in reads)
    return {
        "model": name,
        "engine": asdict(engine.info),
        "device": type(hardware).describe(hardware.index),
        "environment": _environment(),
        "workload": asdict(workload),
        "load_s": load_s,
        "fallbacks": dict(engine.runner.hardware.ops.fallbacks),
        "prediction_note": engine.runner.hardware.prediction_note(),
        "roofs": {
            "memory_read_bytes_per_s": roof,
            "memory_reads": reads,
            "products_per_s": products,
            "products_of": products_of,
        },
        "batches": [
            _summary(engine, batch, runs[batch], workload, roof, products) for batch in runs
        ],
    }


def _check_fits(engine: Engine[ModelRunner], batch: int, workload: Workload) -> None:
    info = engine.info
    length = workload.num_prompt_tokens + workload.num_generated_tokens
    if length > info.max_model_len:
        raise ConfigError(
            f"{length} tokens are more than the context of {info.max_model_len}.",
            hint="Lower --prompt or --generate, or raise --kv-memory.",
        )
    blocks = batch * engine.blocks_for(length)
    if blocks > info.num_blocks:
        needed = blocks * info.kv_bytes / info.num_blocks
        raise ConfigError(
            f"Batch {batch} needs {format_bytes(needed)} of KV cache, there is"
            f" {format_bytes(info.kv_bytes)}.",
            hint="Raise --kv-memory, or lower --batch, --prompt or --generate.",
        )


def _prompts(
    engine: Engine[ModelRunner], batch: int, length: int, *, seed: int
) -> list[tuple[int, ...]]:
    numbers = random.Random(seed)
    return [
        tuple(numbers.randrange(engine.info.vocab_size) for _ in range(length))
        for _ in range(batch)
    ]


def _run_batch(
    engine: Engine[ModelRunner], prompts: list[tuple[int, ...]], num_generated: int
) -> Run:
    """All prompts at once, greedily, to the very last token."""
    params = SamplingParams(max_tokens=num_generated, temperature=0.0, ignore_eos=True)
    began = time.perf_counter()
    for index, prompt in enumerate(prompts):
        engine.add(Request(id=f"bench-{index}", prompt_token_ids=prompt, params=params))
    first_token_s: dict[str, float] = {}
    decode: dict[str, Any] = {}
    decode_began = 0.0
    predict = engine.runner.hardware.predicted_seconds
    predicted_began, predicted_prefill_s = predict(), None
    num_tokens, before = 0, engine.stats()
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
            predicted_prefill_s = _passed(predicted_began, predict())
            predicted_began = predict()
            engine.timings.reset()
            continue
        num_tokens += sum(len(output.token_ids) for output in outputs)
        if not any(output.finish_reason for output in outputs):
            timings = engine.timings
            decode = {
                "decode_s": now - decode_began,
                "decode_steps": timings.steps,
                "decode_tokens": num_tokens,
                "overhead_share": timings.overhead_s / timings.total_s,
                "predicted_decode_s": _passed(predicted_began, predict()),
            }
    after = engine.stats()
    return Run(
        accepted_tokens=after.accepted_tokens - before.accepted_tokens,
        rejected_tokens=after.rejected_tokens - before.rejected_tokens,
        first_token_s=median(first_token_s.values()),
        prefill_s=max(first_token_s.values()),
        predicted_prefill_s=predicted_prefill_s,
        **decode,
    )


def _passed(began: float | None, now: float | None) -> float | None:
    return None if began is None or now is None else now - began


def _summary(
    engine: Engine[ModelRunner],
    batch: int,
    runs: list[Run],
    workload: Workload,
    roof: float,
    products: float,
) -> dict[str, Any]:
    prefill_s = median(run.prefill_s for run in runs)
    prefill_flops = count_prefill_flops(engine.runner, workload.num_prompt_tokens)
    summary: dict[str, Any] = {
        "batch": batch,
        "first_token_s": median(run.first_token_s for run in runs),
        "prefill_tokens_per_s": batch * workload.num_prompt_tokens / prefill_s,
        "compute_roof_share": batch * prefill_flops / prefill_s / products,
        "runs": [asdict(run) for run in runs],
    }
    if all(run.decode_steps for run in runs):
        step_s = median(run.decode_s / run.decode_steps for run in runs)
        context = workload.num_prompt_tokens + workload.num_generated_tokens // 2
        kv_bytes = batch * count_kv_bytes(engine.runner, context)
        step_bytes = count_weight_bytes(engine.runner, batch) + kv_bytes
        shares = [run.overhead_share for run in runs if run.overhead_share is not None]
        summary |= {
            "time_per_token_s": step_s,
            "decode_tokens_per_s": median(run.decode_tokens / run.decode_s for run in runs),
            "step_bytes": step_bytes,
            "memory_roof_share": step_bytes / step_s / roof,
            "overhead_share": median(shares),
        }
    return summary | _drafts(runs) | _predicted(batch, runs[0], workload)


def _drafts(runs: list[Run]) -> dict[str, Any]:
    accepted = sum(run.accepted_tokens for run in runs)
    drafted = accepted + sum(run.rejected_tokens for run in runs)
    return {"drafts_accepted_share": accepted / drafted} if drafted else {}


def _predicted(batch: int, run: Run, workload: Workload) -> dict[str, Any]:
    """Rates that a chip's published figures allow; the same work, so one run says it."""
    rates = {}
    if run.predicted_prefill_s:
        num_prompt_tokens = batch * workload.num_prompt_tokens
        rates["predicted_prefill_tokens_per_s"] = num_prompt_tokens / run.predicted_prefill_s
    if run.predicted_decode_s:
        rates["predicted_decode_tokens_per_s"] = batch * run.decode_steps / run.predicted_decode_s
    return rates


def _environment() -> dict[str, Any]:
    return {
        "unisono": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "threads": current_threads(),
    }
