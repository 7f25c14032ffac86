"""``unisono quantize``: a model folder with smaller weights, that other programs read too."""

from __future__ import annotations

import json
import shlex
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unisono.cli.options import JsonOption, ModelArgument, RevisionOption, ThreadsOption
from unisono.core.errors import ConfigError

if TYPE_CHECKING:
    from unisono.core.weight_format import WeightFormat
    from unisono.models.checkpoint.model_card import QuantizedFolder

_LICENCES = ("LICENSE", "LICENCE", "NOTICE")
_DEMO = "built-in demo model"


def quantize(
    model: ModelArgument = None,
    *,
    out: Annotated[
        str, typer.Option("--out", "-o", help="The folder to write; it must not be there yet.")
    ],
    weights: Annotated[
        str,
        typer.Option(help="int4 or int8; also int4-asym, and -g32, -g64 or -g128 behind."),
    ] = "int4",
    threads: ThreadsOption = None,
    revision: RevisionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a model folder with its linear weights rounded to 4 or 8 bits.

    The answers are those of the same `--weights` on the original, bit for bit, and nothing is left
    to round when the folder is loaded. Its form is compressed-tensors, which transformers and
    others read. One tensor at a time is in memory.

    \b
    Examples:
      unisono quantize Qwen/Qwen3-0.6B --weights int4 -o qwen3-int4
      unisono quantize ./my-model --weights int8-g128 -o ./my-model-int8
      unisono run ./qwen3-int4 "Why is the sky blue?"
    """
    from unisono.core.weight_format import WeightFormat

    format = WeightFormat.parse(weights)
    if format is None:
        raise ConfigError(
            "--weights auto leaves the model as it is: there is nothing to write.",
            hint="Use int4 or int8; also int4-asym, and -g32, -g64 or -g128 behind.",
        )
    folder = Path(out).expanduser()
    _use_threads(threads)
    result, seconds = _write(model, revision, folder, format)
    if as_json:
        record = {**asdict(result), "folder": str(folder), "seconds": round(seconds, 2)}
        typer.echo(json.dumps({"model": model or _DEMO, **record}))
    else:
        _print(result, seconds)


def _use_threads(count: int | None) -> None:
    import torch

    from unisono.hardware.threads import choose_threads

    torch.set_num_threads(choose_threads(count))


def _write(
    model: str | None, revision: str | None, folder: Path, format: WeightFormat
) -> tuple[QuantizedFolder, float]:
    from unisono.cli.benching.progress import progress_bar
    from unisono.hub.resolving import resolve_model
    from unisono.models.checkpoint.new_folder import check_out
    from unisono.models.checkpoint.quantizing import QuantizePlan

    check_out(folder)
    source = resolve_model(model, revision=revision)
    began = time.perf_counter()
    plan = QuantizePlan(source, format)
    with progress_bar(len(plan.tensor_names)) as on_tensor:
        result = plan.write(
            folder,
            source=_title(model, source),
            companions=_companions(source),
            on_tensor=on_tensor,
        )
    return result, time.perf_counter() - began


def _companions(source: Path) -> dict[str, Path]:
    """Tokenizer, chat templates, generation settings, and what a licence asks to go along."""
    from unisono.hub.files import is_wanted

    def goes_along(name: str) -> bool:
        written = name == "config.json" or ".safetensors" in name
        return name.startswith(_LICENCES) or (is_wanted(name) and not written)

    paths = [path for pattern in ("*", "*/*") for path in source.glob(pattern) if path.is_file()]
    named = {path.relative_to(source).as_posix(): path for path in paths}
    return {name: path for name, path in named.items() if goes_along(name)}


def _title(model: str | None, source: Path) -> str:
    """The name of the original in the model card: no path of this machine."""
    if model is None:
        return _DEMO
    return source.resolve().name if Path(model).expanduser().is_dir() else model


def _print(result: QuantizedFolder, seconds: float) -> None:
    from unisono.cli.tables import new_console, new_table, print_table
    from unisono.core.config import format_bytes

    table = new_table("", "")
    table.show_header = False
    rows = {
        "weights": f"{result.format}, {result.bits_per_weight:.2f} bits each",
        "before": format_bytes(result.bytes_before),
        "after": format_bytes(result.bytes_after),
        "time": f"{seconds:.1f} s",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    console = new_console()
    print_table(console, table)
    console.print(f'\nunisono run {shlex.quote(_as_folder(result.folder))} "..."', soft_wrap=True)


def _as_folder(folder: Path) -> str:
    """So that no part of the program takes it for the id of a hub."""
    return str(folder) if folder.is_absolute() else f"./{folder}"
