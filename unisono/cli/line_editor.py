"""Reads the messages of ``unisono chat``: a line editor on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import typer

if TYPE_CHECKING:
    from prompt_toolkit.history import History
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

_PROMPT, _CONTINUATION = "> ", "  "
_PASTE_IS_MARKED, _PASTE_IS_TYPED = "\x1b[?2004h", "\x1b[?2004l"
"""To the terminal: whether it puts marks around text that is pasted."""


class Editor(Protocol):
    keys: str
    """For the user: how a message of several lines is typed."""

    def read(self) -> str:
        """The user's next message, without the blanks around it.

        Raises:
            EOFError: Ctrl-D, or the end of standard input.
            KeyboardInterrupt: Ctrl-C.
        """

    def answering(self) -> AbstractContextManager[None]:
        """Goes around an answer that is written to the same terminal."""


def open_editor() -> Editor:
    """For a terminal that can move its cursor, or for anything else."""
    streams = (sys.stdin, sys.stdout)
    is_terminal = all(stream is not None and stream.isatty() for stream in streams)
    if is_terminal and os.environ.get("TERM", "dumb") != "dumb":
        return TerminalEditor()
    return PlainLines()


class TerminalEditor:
    """Several lines, history, pasted text as one piece."""

    keys = (
        "Alt+Enter: begin a new line (also Esc Enter, or \\ before Enter); Enter sends.\n"
        "A pasted text of several lines is one message."
    )

    def __init__(self) -> None:
        from prompt_toolkit import PromptSession

        self._session: PromptSession[str] = PromptSession(
            _PROMPT,
            multiline=True,
            prompt_continuation=_CONTINUATION,
            key_bindings=_key_bindings(),
            history=_history(),
        )

    def read(self) -> str:
        return self._session.prompt().strip()

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Keeps what is typed or pasted out of the answer, for the next prompt; Ctrl-C still
        interrupts."""
        import termios  # which terminals of Windows lack; they have plain lines

        keyboard = sys.stdin.fileno()
        before = termios.tcgetattr(keyboard)
        silent = list(before)
        silent[3] &= ~(termios.ECHO | termios.ICANON)
        termios.tcsetattr(keyboard, termios.TCSADRAIN, silent)
        _write_at_once(_PASTE_IS_MARKED)
        try:
            yield
        finally:
            _write_at_once(_PASTE_IS_TYPED)
            termios.tcsetattr(keyboard, termios.TCSADRAIN, before)


class PlainLines:
    """Lines of a pipe or a simple terminal; a backslash at the end of a line joins the next."""

    keys = "Each line is a message; \\ at its end: the next line belongs to it."

    def read(self) -> str:
        lines = [_read_line(_PROMPT)]
        while lines[-1].endswith("\\"):
            lines[-1] = lines[-1][:-1]
            lines.append(_read_line(_CONTINUATION))
        return "\n".join(lines).strip()

    def answering(self) -> AbstractContextManager[None]:
        return nullcontext()


def history_file() -> Path:
    """The file that keeps messages for the next conversation."""
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(state).expanduser() / "unisono" / "chat-history"


def _key_bindings() -> KeyBindings:
    """Enter sends; Alt+Enter, Esc Enter, or a backslash before Enter begin a new line."""
    from prompt_toolkit.key_binding import KeyBindings

    bindings = KeyBindings()

    @bindings.add("enter")
    def send(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if buffer.document.is_cursor_at_the_end and buffer.text.endswith("\\"):
            buffer.delete_before_cursor()
            buffer.insert_text("\n")
        else:
            buffer.validate_and_handle()

    @bindings.add("escape", "enter")
    def begin_line(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return bindings


def _history() -> History:
    """The user's own earlier messages; kept in memory alone where the file cannot be written."""
    from prompt_toolkit.history import FileHistory, InMemoryHistory

    path = history_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600))
    except OSError:
        return InMemoryHistory()
    return FileHistory(path)


def _read_line(prompt: str) -> str:
    if sys.stdin is None:
        raise EOFError
    if sys.stdin.isatty():
        typer.echo(prompt, nl=False, err=True)
    content = sys.stdin.buffer.readline()
    if not content:
        raise EOFError
    try:
        return content.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        typer.echo("(that was not UTF-8 text)", err=True)
        return ""


def _write_at_once(sequence: str) -> None:
    sys.stdout.write(sequence)
    sys.stdout.flush()
