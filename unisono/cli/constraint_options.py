"""Options that hold an answer to a language or give it tools: ``--schema``, ``--choice``, ..."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from unisono.cli.option_groups import OptionGroup
from unisono.cli.options import option
from unisono.core.errors import ConfigError
from unisono.core.sampling import SamplingParams

_MAX_BYTES = 64 * 2**20
_OPTIONS: dict[str, Any] = {
    "schema": option(
        str | None, "The answer is JSON that this JSON Schema holds valid.", metavar="FILE|JSON"
    ),
    "regex": option(str | None, "All of the answer matches this regular expression."),
    "choice": option(
        list[str] | None, "The answer is this text, or another that is given so.", metavar="TEXT"
    ),
    "grammar": option(
        str | None,
        "The answer is a text of this grammar, in Lark's notation or GBNF.",
        metavar="FILE|TEXT",
    ),
}
ToolsOption = Annotated[
    str | None,
    typer.Option(
        "--tools",
        metavar="FILE|JSON",
        help="JSON list of functions that the model may call. Calls are written as JSON, one a"
        " line.",
    ),
]
ToolChoiceOption = Annotated[
    str,
    typer.Option("--tool-choice", help="auto, required, or the name of the function to call."),
]


@dataclass(frozen=True)
class Language:
    """The constraint that an option asks for, if any does."""

    schema: str | None
    regex: str | None
    choice: Sequence[str] | None
    grammar: str | None

    def added_to(self, params: SamplingParams) -> SamplingParams:
        """Raises:
        ConfigError, InvalidRequestError: several are given, or one that is none.
        """
        readers: dict[str, Callable[[Any], Any]] = {
            "schema": lambda word: _json_or_file(word, "--schema", ("{", "true", "false")),
            "regex": str,
            "choice": list,
            "grammar": _grammar,
        }
        given = {name: getattr(self, name) for name in readers if getattr(self, name)}
        if len(given) > 1:
            first, second = list(given)[:2]
            raise ConfigError(
                f"--{first} and --{second} both say what the answer is.", hint="Give one of them."
            )
        for name, word in given.items():
            return replace(params, **{name: readers[name](word)})
        return params


LANGUAGE = OptionGroup(_OPTIONS, dict.fromkeys(_OPTIONS), Language)


def read_tools(word: str | None) -> list[dict[str, Any]] | None:
    """The tools that a word of the command line is, or that are in the file it names.

    Raises:
        ConfigError: it is neither.
    """
    if word is None:
        return None
    tools = json.loads(_json_or_file(word, "--tools", ("[", "{")))
    listed = tools if isinstance(tools, list) else [tools]
    if not listed or not all(isinstance(tool, dict) for tool in listed):
        raise ConfigError(
            "--tools is no list of functions.",
            hint='Write [{"type": "function", "function": {"name": ..., "parameters": ...}}].',
        )
    return listed


def _json_or_file(word: str, option: str, begins: tuple[str, ...]) -> str:
    text = word if word.lstrip().startswith(begins) else _file(word)
    if text is None:
        raise ConfigError(
            f"{option} is neither JSON nor a file that can be read.",
            hint=f'JSON on the command line needs quotes: {option} \'{{"type": "object"}}\'.',
        )
    try:
        json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"{option} is no JSON.", hint="Is a quote or a bracket left open?"
        ) from error
    return text


def _grammar(word: str) -> str:
    """A file, or the grammar itself, which has a rule in it."""
    if ":" in word and (text := _file(word)) is None:
        return word
    if (text := _file(word)) is None:
        raise ConfigError(
            "--grammar is neither a grammar nor a file that can be read.",
            hint="A grammar has rules, the first of which is start: or root ::=.",
        )
    return text


def _file(word: str) -> str | None:
    try:
        with Path(word).open("rb") as file:
            return file.read(_MAX_BYTES).decode("utf-8")
    except (OSError, ValueError):
        return None
