"""Options that several verbs share, each written once."""

from __future__ import annotations

from typing import Annotated

import typer

from unisono.cli import completing
from unisono.core.cache import KV_DTYPES
from unisono.core.config import DTYPES, MAX_THREADS

__all__ = [
    "DeviceOption",
    "DtypeOption",
    "GenerationConfigOption",
    "JsonOption",
    "KvDtypeOption",
    "KvMemoryOption",
    "MaxModelLenOption",
    "MOST_TOKENS",
    "MaxTokensOption",
    "ModelArgument",
    "RevisionOption",
    "SeedOption",
    "SystemOption",
    "TemperatureOption",
    "TensorParallelOption",
    "ThreadsOption",
    "TopKOption",
    "TopPOption",
    "WeightCacheOption",
    "WeightsOption",
]

MOST_TOKENS = 1024
MODEL_HELP = (
    "A folder, a .gguf file, a hub id such as Qwen/Qwen3-0.6B, or modelscope:Qwen/Qwen3-0.6B."
    " Without it: the small built-in demo model."
)

ModelArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="MODEL", help=MODEL_HELP, show_default=False, autocompletion=completing.models
    ),
]
DeviceOption = Annotated[
    str,
    typer.Option(
        help="Where to run: auto, cpu, ... `unisono devices` lists what is here.",
        autocompletion=completing.devices,
    ),
]
DtypeOption = Annotated[
    str,
    typer.Option(
        help="Of weights and KV cache: auto (the checkpoint's), float32, bfloat16, float16.",
        autocompletion=completing.one_of(*DTYPES),
    ),
]
KvDtypeOption = Annotated[
    str,
    typer.Option(
        help="Of keys and values in the cache: auto (as --dtype), int8, fp8. 8 bits hold twice the"
        " tokens of 16.",
        autocompletion=completing.one_of(*KV_DTYPES),
    ),
]
KvMemoryOption = Annotated[
    str,
    typer.Option(
        help="Memory for the KV cache, such as 512MiB or 8GiB. auto: 2 GiB, or half of what the"
        " weights leave free, if that is less."
    ),
]
MaxModelLenOption = Annotated[
    int | None,
    typer.Option(
        help="Most tokens of prompt and answer. By default what model and KV memory allow.",
        show_default=False,
    ),
]
TensorParallelOption = Annotated[
    int,
    typer.Option("--tp", help="Ranks among which the model is divided: devices of one kind, here."),
]
ThreadsOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=MAX_THREADS,
        help="Threads of the host that compute, shared by --tp. By default as many as it has cores"
        " for this process: affinity and quotas of control groups count.",
        show_default=False,
    ),
]
WeightsOption = Annotated[
    str,
    typer.Option(
        help="How linear weights are held: auto (as loaded), int8, int4; also int4-asym, and -g32,"
        " -g64 or -g128 behind.",
        autocompletion=completing.one_of("auto", "int8", "int4", "int4-asym", "int4-g128"),
    ),
]
WeightCacheOption = Annotated[
    bool,
    typer.Option(
        "--weight-cache/--no-weight-cache", help="Keep quantised weights for the next start."
    ),
]
RevisionOption = Annotated[
    str | None,
    typer.Option(help="Branch, tag or commit of a model on a hub.", show_default=False),
]
MaxTokensOption = Annotated[
    int | None,
    typer.Option(
        help=f"Most tokens to generate. By default {MOST_TOKENS}, or what is left of the context."
    ),
]
GenerationConfigOption = Annotated[
    str,
    typer.Option(
        help="Sampling where nothing is said: auto (as the model's generation_config.json or GGUF"
        " header recommends), none, or another such file or its folder.",
        autocompletion=completing.one_of("auto", "none"),
    ),
]
TemperatureOption = Annotated[
    float | None,
    typer.Option(
        help="0 always takes the likeliest token; higher is more varied. By default what the model"
        " recommends, else 0 for `run` and 0.7 for `chat`.",
        show_default=False,
    ),
]
TopPOption = Annotated[
    float | None,
    typer.Option(
        help="Choose among the likeliest tokens that sum to this probability. By default what the"
        " model recommends.",
        show_default=False,
    ),
]
TopKOption = Annotated[
    int | None,
    typer.Option(
        help="Choose among this many of the likeliest tokens; 0 means all. By default what the"
        " model recommends.",
        show_default=False,
    ),
]
SeedOption = Annotated[
    int | None,
    typer.Option(help="The same seed gives the same answer, on every device.", show_default=False),
]
SystemOption = Annotated[
    str | None,
    typer.Option(help="System message that goes before the conversation.", show_default=False),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
