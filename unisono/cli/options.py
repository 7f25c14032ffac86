"""Options that several verbs share, each written once, and the groups that make one value."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from unisono.cli import completing
from unisono.cli.option_groups import OptionGroup
from unisono.core.cache import KV_DTYPES
from unisono.core.config import DTYPES, MAX_THREADS, TASKS, EngineConfig
from unisono.core.sampling import SamplingParams

MOST_TOKENS = 1024


def option(kind: Any, help: str, *names: str, **details: Any) -> Any:
    """The type of an option in a group, with what typer is to know of it."""
    return Annotated[kind, typer.Option(*names, help=help, **details)]


ModelArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="MODEL",
        help="A folder, a .gguf file, a hub id such as Qwen/Qwen3-0.6B, or"
        " modelscope:Qwen/Qwen3-0.6B. Without it: the small built-in demo model.",
        autocompletion=completing.models,
    ),
]
ThreadsOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=MAX_THREADS,
        help="Threads of the host that compute, shared by --tp. By default as many as it has cores"
        " for this process: affinity and quotas of control groups count.",
    ),
]
RevisionOption = Annotated[
    str | None,
    typer.Option(help="Branch, tag or commit of a model on a hub."),
]
GenerationConfigOption = Annotated[
    str,
    typer.Option(
        help="Sampling where nothing is said: auto (as the model's generation_config.json or GGUF"
        " header recommends), none, or another such file or its folder.",
        autocompletion=completing.one_of("auto", "none"),
    ),
]
SystemOption = Annotated[
    str | None,
    typer.Option(help="System message that goes before the conversation."),
]
AdapterOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER", help="Answer with the adapter (LoRA) in a folder as PEFT saves it."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

_ENGINE_OPTIONS: dict[str, Any] = {
    "device": option(
        str,
        "Where to run: auto, cpu, ... `unisono devices` lists what is here.",
        autocompletion=completing.devices,
    ),
    "dtype": option(
        str,
        "Of weights and KV cache: auto (the checkpoint's), float32, bfloat16, float16.",
        autocompletion=completing.one_of(*DTYPES),
    ),
    "weights": option(
        str,
        "How linear weights are held: auto (as loaded), int8, int4; also int4-asym, and"
        " -g32, -g64 or -g128 behind.",
        autocompletion=completing.one_of("auto", "int8", "int4", "int4-asym", "int4-g128"),
    ),
    "weight_cache": option(
        bool, "Keep quantised weights for the next start.", "--weight-cache/--no-weight-cache"
    ),
    "tensor_parallel": option(
        int, "Ranks among which the model is divided: devices of one kind, here.", "--tp"
    ),
    "threads": ThreadsOption,
    "kv_memory": option(
        str,
        "Memory for the KV cache, such as 512MiB or 8GiB. auto: 2 GiB, or half of what the"
        " weights leave free, if that is less.",
    ),
    "kv_dtype": option(
        str,
        "Of keys and values in the cache: auto (as --dtype), int8, fp8. 8 bits hold twice"
        " the tokens of 16.",
        autocompletion=completing.one_of(*KV_DTYPES),
    ),
    "speculate": option(
        str,
        "Draft tokens and compute several in a step, with the same answers: off, ngram (from what"
        " prompt and answer said before), or a folder with a smaller model of the same vocabulary.",
        autocompletion=completing.one_of("off", "ngram"),
    ),
    "speculate_tokens": option(int, "Most tokens that are drafted for an answer in one step."),
    "max_model_len": option(
        int | None,
        "Most tokens of prompt and answer. By default what model and KV memory allow.",
    ),
    "task": option(
        str,
        "What the model is served for: auto (what its folder says), generate, embed, rerank.",
        autocompletion=completing.one_of(*TASKS),
    ),
    "max_num_seqs": option(int, "Most sequences that are computed together."),
    "max_num_batched_tokens": option(int, "Most tokens in one step, prompts and answers together."),
    "max_queue": option(int, "Most requests that wait; more get 429 with Retry-After."),
    "max_adapters": option(
        int | None,
        "Most adapters (LoRA) at a time; memory is kept for them. By default as many as are given,"
        " and 8 with --adapters-dir.",
    ),
    "max_adapter_rank": option(int, "Most that an adapter's rank may be."),
    "prefix_cache": option(
        bool, "Reuse what equal beginnings have computed.", "--prefix-cache/--no-prefix-cache"
    ),
}
"""By the field of ``EngineConfig``."""
_SERVER_ONLY = (
    *("task", "max_num_seqs", "max_num_batched_tokens", "max_queue", "prefix_cache"),
    "max_adapters",
)
_SAMPLING_OPTIONS: dict[str, Any] = {
    "max_tokens": option(
        int | None,
        f"Most tokens to generate. By default {MOST_TOKENS}, or what is left of the context.",
    ),
    "temperature": option(
        float | None,
        "0 always takes the likeliest token; higher is more varied. By default what the"
        " model recommends, else 0 for `run` and 0.7 for `chat`.",
    ),
    "top_p": option(
        float | None,
        "Choose among the likeliest tokens that sum to this probability. By default what"
        " the model recommends.",
    ),
    "top_k": option(
        int | None,
        "Choose among this many of the likeliest tokens; 0 means all. By default what the"
        " model recommends.",
    ),
    "thinking_token_budget": option(
        int | None, "Most tokens of reasoning, for models that reason.", show_default=False
    ),
    "seed": option(
        int | None,
        "Number from which random draws follow: the same one gives the same draws, on every"
        " device. By default another one for each answer.",
        show_default=False,
    ),
}


def _engine_group(*left_out: str) -> OptionGroup:
    """An ``EngineConfig`` from options; the fields that are left out stay as by default."""
    types = {name: kind for name, kind in _ENGINE_OPTIONS.items() if name not in left_out}
    defaults = {each.name: each.default for each in fields(EngineConfig)}
    return OptionGroup(types, {**defaults, "kv_memory": "auto"}, EngineConfig().but)


ENGINE = _engine_group(*_SERVER_ONLY)
SERVED_ENGINE = _engine_group()
BENCHED_ENGINE = _engine_group("weights", "max_model_len", "max_adapter_rank", *_SERVER_ONLY)
SAMPLING = OptionGroup(_SAMPLING_OPTIONS, dict.fromkeys(_SAMPLING_OPTIONS), SamplingParams)
