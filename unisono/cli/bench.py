"""``unisono bench``: how fast a model runs here, and how near that is to what the device can do."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Annotated

import typer

from unisono.cli.option_groups import takes
from unisono.cli.options import BENCHED_ENGINE, JsonOption, ModelArgument, RevisionOption
from unisono.core.config import EngineConfig
from unisono.core.errors import ConfigError


@takes(engine=BENCHED_ENGINE)
def bench(
    model: ModelArgument = None,
    *,
    engine: EngineConfig,
    weights: Annotated[
        str,
        typer.Option(
            help="Weight formats to measure, with commas: auto (as they are), bf16, int8, int4,"
            " int4-g128, ..."
        ),
    ] = "auto",
    prompt: Annotated[int, typer.Option(min=1, help="Tokens in each prompt.")] = 512,
    generate: Annotated[int, typer.Option(min=1, help="Tokens to generate for each.")] = 128,
    batch: Annotated[
        str, typer.Option(help="How many requests at once; several sizes with commas.")
    ] = "1,8",
    repeat: Annotated[int, typer.Option(min=1, help="Runs of each size; medians are shown.")] = 3,
    seed: Annotated[int, typer.Option(help="Chooses the random tokens of the prompts.")] = 0,
    revision: RevisionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure prefill, decode and latency, and set them against the device's own limits.

    Prompts are random tokens, so any checkpoint will do. In the same run, a plain read of a big
    tensor and a plain matrix product show what the device can do at this moment.

    \b
    Examples:
      unisono bench
      unisono bench Qwen/Qwen3-0.6B --dtype bfloat16 --batch 1,8,32
      unisono bench Qwen/Qwen3-0.6B --weights bf16,int8,int4 --batch 1,8
      unisono bench ./my-model --prompt 2048 --generate 64 --json > result.json
    """
    sizes = parse_batches(batch)
    from unisono.cli.benching import report as bench_report
    from unisono.cli.benching.runs import Workload, measure
    from unisono.hub.resolving import resolve_model

    configs = [
        replace(
            engine,
            dtype="bfloat16" if format == "bf16" else engine.dtype,
            weights="auto" if format == "bf16" else format,
            max_num_seqs=max(engine.max_num_seqs, *sizes),
            max_num_batched_tokens=max(engine.max_num_batched_tokens, *sizes),
            prefix_cache=False,
        )
        for format in weights.split(",")
    ]
    workload = Workload(
        num_prompt_tokens=prompt, num_generated_tokens=generate, repeat=repeat, seed=seed
    )
    folder = resolve_model(model, revision=revision)
    name = model or "built-in demo model"
    results = [measure(name, folder, config, sizes, workload) for config in configs]
    if as_json:
        typer.echo(json.dumps(results if len(results) > 1 else results[0], indent=2))
    else:
        for result in results:
            bench_report.print_tables(result)
        bench_report.print_legend(results)


def parse_batches(text: str) -> list[int]:
    """``"1,8"`` -> [1, 8].

    Raises:
        ConfigError: not a list of numbers from 1 to 4096.
    """
    words = [word.strip() for word in text.split(",")]
    sizes = [int(word) for word in words if word.isdecimal()]
    if len(sizes) != len(words) or not all(1 <= size <= 4096 for size in sizes):
        raise ConfigError(
            f"{text!r} is no list of batch sizes.", hint="Write --batch 1,8 with sizes 1 to 4096."
        )
    return sizes
