"""Text for people: wrapped at words on a terminal, and escaped, which is said once, where the
encoding of a stream lacks some of its characters."""

from __future__ import annotations

import codecs
import os
import sys
from typing import TextIO

import typer

_HANDLER = "unisono.escape"
_escaped_by: set[str] = set()
"""Encodings that lacked a character, until the user is told."""


def prepare_streams() -> None:
    """Let nothing that is printed raise, and whatever is typed or piped be UTF-8 where the locale
    knows ASCII alone. An output that is closed is as ``/dev/null``."""
    sys.stdout, sys.stderr = _open_or_null(sys.stdout), _open_or_null(sys.stderr)
    codecs.register_error(_HANDLER, _escape)
    for stream in (sys.stdout, sys.stderr):
        _reconfigure(stream, errors=_HANDLER)
    if _encoding(sys.stdin) == "ascii":
        _reconfigure(sys.stdin, encoding="utf-8", errors="surrogateescape")


def tell(text: str, *, dim: bool = False) -> None:
    """A line on standard error."""
    if not sys.stderr.isatty():
        typer.echo(text, err=True)
        return
    from rich.console import Console
    from rich.text import Text

    Console(stderr=True).print(Text(text, "dim" if dim else ""))


def tell_what_was_escaped() -> None:
    """One line on standard error, the first time that a character could not be shown."""
    if _escaped_by:
        names = " and ".join(sorted(_escaped_by))
        _escaped_by.clear()
        tell(
            f"note: {names} cannot show all of this text; what it lacks is written as \\u and a"
            " number. LANG=C.UTF-8 or PYTHONIOENCODING=utf-8 shows it."
        )


def middle_dot(stream: TextIO) -> str:
    """The separator between two figures on a line."""
    try:
        "·".encode(_encoding(stream) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return " | "
    return " · "


def _open_or_null(stream: TextIO | None) -> TextIO:
    return open(os.devnull, "w", encoding="utf-8") if stream is None else stream


def _escape(error: UnicodeError) -> tuple[str | bytes, int]:
    if isinstance(error, UnicodeEncodeError) and error.encoding != "utf-8":
        _escaped_by.add(error.encoding)
    return codecs.backslashreplace_errors(error)


def _encoding(stream: TextIO | None) -> str | None:
    name = getattr(stream, "encoding", None)
    return None if name is None else codecs.lookup(name).name


def _reconfigure(stream: TextIO | None, **options: str) -> None:
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(**options)
