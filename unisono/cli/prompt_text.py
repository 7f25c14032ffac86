"""Finds the prompt of ``unisono run``: a word of the command line, standard input, or both."""

from __future__ import annotations

import os
import select
import stat
import sys
from typing import BinaryIO

import typer

from unisono.core.errors import ConfigError

STANDARD_INPUT = "-"
_MAX_BYTES = 64 * 2**20
_PATIENCE_S = 2.0


def read_prompt(word: str | None) -> str | None:
    """The prompt; None where there is neither a word nor anything that is piped in.

    ``-`` is standard input, whatever it is. A pipe or a file beside another word goes behind it,
    after a blank line; a socket does not, because a program that starts this one may hold its other
    end open for ever.

    Raises:
        ConfigError: it is empty, or no text.
    """
    if word == STANDARD_INPUT:
        return _required(_read_text())
    if word is not None:
        word = whole_text(word, "The prompt")
    if not _is_redirected(sockets=word is None):
        return word
    text = _required(_read_text())
    return text if word is None else f"{word}\n\n{text}"


def whole_text(word: str, what: str) -> str:
    """A word of the command line as the text that was typed: where the locale knows ASCII alone,
    Python hands on bytes.

    Raises:
        ConfigError: it is empty, or not UTF-8.
    """
    try:
        text = os.fsencode(word).decode("utf-8") if _has_bytes(word) else word
    except UnicodeError:
        raise ConfigError(
            f"{what} is not UTF-8 text.", hint="Convert it first, for example with iconv."
        ) from None
    if not text.strip():
        raise ConfigError(f"{what} is empty.", hint="Is a variable of the shell unset?")
    return text


def _has_bytes(word: str) -> bool:
    return any("\ud800" <= char <= "\udfff" for char in word)


def _is_redirected(*, sockets: bool) -> bool:
    """Tells whether standard input is a file, a pipe or, if wanted, a socket."""
    try:
        kind = os.fstat(sys.stdin.fileno()).st_mode
    except (AttributeError, OSError, ValueError):  # closed, or in the hands of another program
        return False
    return stat.S_ISFIFO(kind) or stat.S_ISREG(kind) or (sockets and stat.S_ISSOCK(kind))


def _required(text: str) -> str:
    if text:
        return text
    raise ConfigError(
        "Standard input is empty.",
        hint="Did the command before the pipe fail? < /dev/null leaves standard input out.",
    )


def _read_text() -> str:
    """All of standard input, without the blanks around it."""
    try:
        source = sys.stdin.buffer
        _say_if_slow(source)
        content = source.read(_MAX_BYTES + 1) or b""
    except (AttributeError, OSError, ValueError) as error:
        raise ConfigError(
            "Standard input cannot be read: it is closed.", hint="Give the prompt as a word."
        ) from error
    if len(content) > _MAX_BYTES:
        raise ConfigError(
            f"Standard input is longer than {_MAX_BYTES >> 20} MiB.",
            hint="No model reads that much at once: send a part of it.",
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise ConfigError(
            "Standard input is not UTF-8 text.", hint="Convert it first, for example with iconv."
        )
    return text.strip()


def _say_if_slow(source: BinaryIO) -> None:
    """Nobody should have to guess what a silent program waits for."""
    if not select.select([source], [], [], _PATIENCE_S)[0]:
        typer.echo("waiting for standard input; Ctrl-D on a terminal ends it ...", err=True)
