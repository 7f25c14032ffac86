"""A conversation in the terminal: its messages, and the commands that change them."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import typer

from unisono.cli.answering import Loaded, PartPrinter, TimedAnswer, print_statistics, show
from unisono.cli.errors import show_error
from unisono.cli.line_editor import open_editor
from unisono.cli.shown_text import tell, tell_what_was_escaped
from unisono.core.errors import ContextLengthError, RequestError
from unisono.core.sampling import SamplingParams

_HELP = """/clear: forget the conversation.
/system TEXT: set the system message and start over; without TEXT, remove it.
/exit: leave (also Ctrl-D).
Ctrl-C: stop the answer."""


class Conversation:
    """Messages so far; each answer sees all of them."""

    def __init__(self, loaded: Loaded, params: SamplingParams, *, system: str | None) -> None:
        self._loaded = loaded
        self._params = params
        self._system = system
        self.messages: list[dict[str, str]] = []
        self._start_over()

    def command(self, line: str, keys: str) -> str | None:
        """Carry out ``/word ...``; gives what to tell the user, or None to leave. ``keys``: how
        messages are typed."""
        word, _, rest = line.partition(" ")
        if word in ("/exit", "/quit", "/bye"):
            return None
        if word == "/clear":
            self._start_over()
            return "The conversation is forgotten."
        if word == "/system":
            self._system = rest.strip() or None
            self._start_over()
            return "System message set." if self._system else "No system message."
        unknown = "" if word == "/help" else f"There is no {word}.\n"
        return f"{unknown}{_HELP}\n{keys}"

    def say(self, text: str) -> None:
        """Add the user's message and stream the answer; a refused message is taken back."""
        self.messages.append({"role": "user", "content": text})
        answer, printer = TimedAnswer(self._loaded, self._params), PartPrinter()
        try:
            with closing(answer.to_chat(self.messages)) as deltas, _ctrl_c_noted() as pressed:
                for delta in deltas:
                    printer.show(delta)
                    if pressed.is_set():
                        break
        except KeyboardInterrupt:
            pass
        except RequestError as error:
            self.messages.pop()
            hint = "/clear starts over." if isinstance(error, ContextLengthError) else error.hint
            show_error(error.message, hint)
            return
        printer.end_reasoning()
        show("\n")
        print_statistics(answer)
        tell_what_was_escaped()
        said = {"role": "assistant", "content": answer.whole.text}
        if answer.whole.reasoning:
            said["reasoning_content"] = answer.whole.reasoning
        self.messages.append(said)

    def _start_over(self) -> None:
        self.messages.clear()
        if self._system:
            self.messages.append({"role": "system", "content": self._system})


@contextmanager
def _ctrl_c_noted() -> Iterator[threading.Event]:
    """The first Ctrl-C is noted, so that a step of the engine is never torn; a second one tears."""
    pressed = threading.Event()

    def note(number: int, frame: object) -> None:
        if pressed.is_set():
            raise KeyboardInterrupt
        pressed.set()

    before = signal.signal(signal.SIGINT, note)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)


def talk(conversation: Conversation) -> None:
    """Read and answer until the user leaves."""
    editor = open_editor()
    while True:
        try:
            message = editor.read()
        except EOFError:
            if sys.stdin is not None and sys.stdin.isatty():
                typer.echo("", err=True)
            return
        except KeyboardInterrupt:
            tell("(Ctrl-D or /exit leaves)")
            continue
        if message.startswith("/") and "\n" not in message:
            reply = conversation.command(message, editor.keys)
            if reply is None:
                return
            for line in reply.splitlines():
                tell(line)
        elif message:
            with editor.answering():
                conversation.say(message)
