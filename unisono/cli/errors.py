"""Messages for the user when something goes wrong, and the exit code a script sees.

0 fine, 1 failed while running, 2 wrong from the start (usage, configuration, model, hardware),
130 interrupted.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from unisono.cli.shown_text import tell
from unisono.core.errors import (
    ConfigError,
    EngineDeadError,
    HardwareError,
    InvalidRequestError,
    ModelError,
    UnisonoError,
)

DEBUG_VARIABLE = "UNISONO_DEBUG"
_WRONG_FROM_THE_START = (ConfigError, ModelError, HardwareError, InvalidRequestError)


def exit_code(error: UnisonoError) -> int:
    """2 where another command line would have worked, 1 otherwise."""
    return 2 if isinstance(error, _WRONG_FROM_THE_START) else 1


def show_error(message: str, hint: str = "") -> None:
    """One line on stderr for what is wrong, and one for what to do."""
    tell(f"error: {_one_line(message)}")
    if hint:
        tell(f"hint: {_one_line(hint)}")


@contextmanager
def clear_errors() -> Iterator[None]:
    """Turn whatever a verb raises into a clear line and an exit code; never a traceback."""
    try:
        yield
        sys.stdout.flush()
    except typer.Exit:
        raise
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except BrokenPipeError:
        _discard_output()
        raise typer.Exit(1) from None
    except Exception as error:
        if os.environ.get(DEBUG_VARIABLE, "") not in ("", "0"):
            raise
        error = _about_usage(error) or _about_space(error) or _about_torch(error) or error
        if isinstance(error, UnisonoError):
            show_error(error.message, error.hint)
            raise typer.Exit(exit_code(error)) from None
        show_error(
            f"{type(error).__name__}: {error}",
            f"This should not happen. {DEBUG_VARIABLE}=1 shows where it did; please report it.",
        )
        raise typer.Exit(1) from None


def _about_usage(error: Exception) -> ConfigError | None:
    """The parser's own complaints."""
    if not hasattr(error, "format_message"):
        return None
    message = error.format_message().rstrip(".")
    context = getattr(error, "ctx", None)
    place = context.command_path if context else "unisono"
    end = "" if message.endswith("?") else "."
    return ConfigError(f"{message}{end}", hint=f"`{place} --help` says what there is.")


def _about_space(error: Exception) -> UnisonoError | None:
    if not isinstance(error, OSError) or error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return None
    if error.filename is None:
        _discard_output()
    return UnisonoError(
        f"Not everything could be written: {error.strerror}.",
        hint="Free some space, or write to another place.",
    )


def _about_torch(error: Exception) -> UnisonoError | None:
    """The true cause, where a package that torch loads by itself makes ``import torch`` fail: here,
    or in the engine's process."""
    from unisono.hardware import torch_import

    if not isinstance(error, EngineDeadError):
        return torch_import.explain(error)
    if torch_import.autoloaded() and (found := torch_import.probe()).level == "problem":
        return HardwareError(f"{found.subject} {found.what}", hint=found.advice)
    return None


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _discard_output() -> None:
    """Nobody reads any more, or nothing more fits: keep the interpreter from complaining when it
    flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
