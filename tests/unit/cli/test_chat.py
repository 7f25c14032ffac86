"""``unisono chat`` against a stand-in for the engine."""

from __future__ import annotations

import io
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from unisono.cli import conversation, line_editor
from unisono.core.errors import ContextLengthError


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Messages the user types; an exception in the list is raised instead."""
    lines: list[Any] = []
    source: Iterator[Any] | None = None

    def read() -> str:
        nonlocal source
        source = source or iter(lines)
        line = next(source, EOFError())
        if isinstance(line, BaseException):
            raise line
        return str(line)

    editor = line_editor.PlainLines()
    monkeypatch.setattr(editor, "read", read)
    monkeypatch.setattr(conversation, "open_editor", lambda: editor)
    return lines


def test_each_answer_sees_what_was_said(program: Any, fake_llm: Any, typed: list[Any]) -> None:
    typed += ["one", "two"]
    outcome = program("chat", "some/model", "--system", "Be brief.")
    assert outcome.code == 0
    assert outcome.out == "Hello [bold]world[/bold]!\n" * 2
    answer = {"role": "assistant", "content": "Hello [bold]world[/bold]!"}
    assert fake_llm.last.conversations[1] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "one"},
        answer,
        {"role": "user", "content": "two"},
    ]


def test_commands(program: Any, fake_llm: Any, typed: list[Any]) -> None:
    typed += ["one", "/clear", "two", "/system Rhyme.", "three", "/nonsense", "", "/exit", "four"]
    outcome = program("chat")
    conversations = fake_llm.last.conversations
    assert conversations[1] == [{"role": "user", "content": "two"}]
    assert conversations[2][0] == {"role": "system", "content": "Rhyme."}
    assert [len(messages) for messages in conversations] == [1, 1, 2]
    assert "There is no /nonsense." in outcome.err
    assert "Each line is a message" in outcome.err
    assert "Alt+Enter" not in outcome.err, "lines of a pipe have no keys"


def test_several_lines_are_no_command(program: Any, fake_llm: Any, typed: list[Any]) -> None:
    typed += ["/etc/hosts\nis a file"]
    program("chat")
    assert fake_llm.last.conversations[0][0]["content"] == "/etc/hosts\nis a file"


def test_lines_of_a_pipe(program: Any, fake_llm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backslash joins two of them; one that is no text is told and left out."""
    content = io.BytesIO(b"first\\\n" + "你好\r\n\n".encode() + b"\xff\xfe\nlast")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(content))
    outcome = program("chat")
    asked = [messages[-1]["content"] for messages in fake_llm.last.conversations]
    assert asked == ["first\n你好", "last"]
    assert outcome.err.count("(that was not UTF-8 text)") == 1
    assert "> " not in outcome.out + outcome.err


def test_history_is_for_this_user_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    history = line_editor._history()
    history.append_string("one\ntwo")
    path = line_editor.history_file()
    assert path == tmp_path / "state" / "unisono" / "chat-history"
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert list(line_editor._history().load_history_strings()) == ["one\ntwo"]
    monkeypatch.setenv("XDG_STATE_HOME", str(path))
    assert list(line_editor._history().load_history_strings()) == []


def test_ctrl_c_stops_the_answer_not_the_program(
    program: Any, fake_llm: Any, typed: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    typed += ["one", KeyboardInterrupt(), "two"]
    interrupts = iter([None, KeyboardInterrupt()])

    def fail(index: int) -> None:
        error = next(interrupts, None)
        if error is not None:
            raise error

    monkeypatch.setattr(fake_llm, "fail", staticmethod(fail))
    outcome = program("chat")
    assert outcome.code == 0
    assert "Ctrl-D or /exit leaves" in outcome.err
    assert fake_llm.last.closed == 2
    assert fake_llm.last.conversations[1][1] == {"role": "assistant", "content": "Hello"}


def test_one_ctrl_c_lets_the_step_finish(
    program: Any, fake_llm: Any, typed: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    typed += ["one"]

    def fail(index: int) -> None:
        if index == 0:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(fake_llm, "fail", staticmethod(fail))
    outcome = program("chat")
    assert (outcome.code, outcome.out) == (0, "Hello\n")
    assert fake_llm.last.closed == 1


def test_a_refused_message_is_taken_back(
    program: Any, fake_llm: Any, typed: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    typed += ["far too long", "short"]
    errors = iter([ContextLengthError("9 tokens do not fit 8.")])

    def fail(index: int) -> None:
        error = next(errors, None)
        if error is not None:
            raise error

    monkeypatch.setattr(fake_llm, "fail", staticmethod(fail))
    outcome = program("chat")
    assert outcome.code == 0
    assert "error: 9 tokens do not fit 8.\nhint: /clear starts over." in outcome.err
    assert fake_llm.last.conversations[1] == [{"role": "user", "content": "short"}]
