"""``unisono embed``: texts in, one a line, and a vector for each out, as JSON lines or ``.npy``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from unisono.cli.option_groups import takes
from unisono.cli.options import ENGINE, ModelArgument, RevisionOption
from unisono.core.config import EngineConfig
from unisono.core.errors import ConfigError

if TYPE_CHECKING:
    from array import array

_STANDARD = "-"
_AT_ONCE = 1024
"""Texts between two writes."""


@takes(engine=ENGINE)
def embed(
    model: ModelArgument = None,
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="FILE",
            help="UTF-8 text, one text a line; of a file .jsonl each line is a JSON text, or an"
            ' object with one as "text". - is standard input.',
        ),
    ] = None,
    *,
    engine: EngineConfig,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Where to write: .jsonl, or .npy for numpy (float32, a row a text). By default"
            " JSON lines on standard output."
        ),
    ] = None,
    dimensions: Annotated[
        int | None,
        typer.Option(min=1, help="Keep so many numbers of each vector, for models made for that."),
    ] = None,
    prompt_name: Annotated[
        str | None,
        typer.Option(help="A prompt of the model's that goes before each text, such as query."),
    ] = None,
    truncate: Annotated[
        int | None,
        typer.Option(min=1, help="Cut longer texts to so many tokens. By default they are errors."),
    ] = None,
    revision: RevisionOption = None,
) -> None:
    """Embed the lines of a file: a vector for each, in their order.

    \b
    Examples:
      unisono embed Qwen/Qwen3-Embedding-0.6B texts.txt --out vectors.npy
      unisono embed Qwen/Qwen3-Embedding-0.6B queries.txt --prompt-name query > vectors.jsonl
      cat texts.txt | unisono embed Qwen/Qwen3-Embedding-0.6B - --dimensions 256
    """
    from unisono.cli.benching.progress import progress_bar
    from unisono.llm import LLM
    from unisono.text.pooled_inputs import Cut

    if source is None and _is_source(model):
        model, source = None, model
    texts = _read_texts(source)
    if out is not None and out.suffix not in (".jsonl", ".npy"):
        raise ConfigError(f"{out} ends neither in .jsonl nor in .npy.", hint="Name one that does.")
    llm = LLM(model, engine, revision=revision, task="embed")
    cut = None if truncate is None else Cut(truncate)
    with _writing(out, len(texts)) as write, progress_bar(len(texts)) as tell:
        for start in range(0, len(texts), _AT_ONCE):
            part = texts[start : start + _AT_ONCE]
            write(llm.embed(part, dimensions=dimensions, prompt_name=prompt_name, cut=cut))
            for _ in part:
                tell(f"{start + len(part):,} of {len(texts):,}")


def _is_source(word: str | None) -> bool:
    """True where a single word names texts, and no model."""
    return word == _STANDARD or (
        word is not None and Path(word).is_file() and not word.endswith(".gguf")
    )


def _read_texts(source: str | None) -> list[str]:
    """Raises ConfigError: the file cannot be read, or a line of it is no text."""
    if source is None and sys.stdin.isatty():
        raise ConfigError("There is no file to embed.", hint="Name one with a text a line.")
    source = source or _STANDARD
    try:
        content = sys.stdin.buffer.read() if source == _STANDARD else Path(source).read_bytes()
        lines = content.decode("utf-8-sig").split("\n")
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"{source} cannot be read: {why}.") from error
    if lines[-1] == "":
        lines.pop()
    is_json = source.endswith(".jsonl")
    texts = [_text_of(line.removesuffix("\r"), is_json) for line in lines]
    wrong = next((number for number, text in enumerate(texts, 1) if not text), None)
    if wrong is not None:
        raise ConfigError(
            f"Line {wrong} of {source} has no text.",
            hint="Remove it; of a .jsonl each line is a text in quotes, or an object with text.",
        )
    if not texts:
        raise ConfigError(f"{source} is empty.")
    return [text for text in texts if text]


def _text_of(line: str, is_json: bool) -> str | None:
    if not is_json:
        return line
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    text = value.get("text") if isinstance(value, dict) else value
    return text if isinstance(text, str) else None


@contextmanager
def _writing(out: Path | None, count: int) -> Iterator[Callable[[Sequence[array[float]]], None]]:
    """Gives what writes vectors, of which there will be ``count``.

    Raises:
        ConfigError: the file cannot be written.
    """
    if out is None:
        yield _json_lines(sys.stdout)
        return
    try:
        with out.open("wb" if out.suffix == ".npy" else "w") as file:
            yield _npy(file, count) if out.suffix == ".npy" else _json_lines(file)
    except OSError as error:
        raise ConfigError(f"{out} cannot be written: {error.strerror}.") from error


def _json_lines(file: IO[str]) -> Callable[[Sequence[array[float]]], None]:
    index = 0

    def write(vectors: Sequence[array[float]]) -> None:
        nonlocal index
        for vector in vectors:
            numbers = ",".join([f"{number:.9g}" for number in vector])
            file.write(f'{{"index":{index},"embedding":[{numbers}]}}\n')
            index += 1

    return write


def _npy(file: Any, count: int) -> Callable[[Sequence[array[float]]], None]:
    """The header is written with the first vectors, which say how long they are."""
    import numpy as np
    from numpy.lib import format as npy

    def write(vectors: Sequence[array[float]]) -> None:
        rows = np.asarray(vectors, "<f4")
        if not file.tell():
            shape = (count, rows.shape[1])
            npy.write_array_header_1_0(
                file, {"descr": "<f4", "fortran_order": False, "shape": shape}
            )
        file.write(rows.tobytes())

    return write
