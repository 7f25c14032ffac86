"""``unisono chat`` on a terminal, as a person types: pasted text, several lines, Ctrl-C, history.

The model is a stand-in that says what it was asked; ``count`` makes it go on and on.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import pytest

from tests.waiting import PATIENCE_S

PROGRAM = """
import itertools, os, sys, time, types
from pathlib import Path
from types import SimpleNamespace
from unisono.cli import answering, main
from unisono.core.sampling_defaults import SamplingDefaults
from unisono.text.answer import AnswerDelta
from unisono.text.parts import Content


def delta(text, reason=None):
    return AnswerDelta(parts=(Content(text),), token_ids=[1], finish_reason=reason)


class LLM:
    sampling_defaults = SamplingDefaults()
    engine = SimpleNamespace(info=SimpleNamespace(max_model_len=100000, note=""))

    def __init__(self, *_, **__):
        self.answers = 0

    def encode_chat(self, messages, tools=None, *, tool_choice='auto'):
        self.asked = messages[-1]["content"]
        return SimpleNamespace(token_ids=[1, 2])

    def stream(self, prompt, params, *, adapter=None):
        self.answers += 1
        yield delta(f"answer {self.answers}: ")
        if self.asked.startswith("count"):
            for number in itertools.count():
                time.sleep(0.02)
                yield delta(f"<{number}>")
                if Path(os.environ["ENOUGH"]).exists():
                    break
        yield delta(f"asked {self.asked.splitlines()}", "stop")


sys.modules["unisono.llm"] = types.SimpleNamespace(LLM=LLM)
answering.resolve_model = lambda name, revision: Path("demo")
sys.argv = ["unisono", "chat", "--system", "Be brief."]
main()
"""

UP, CTRL_C, CTRL_D, ALT_ENTER = "\x1b[A", "\x03", "\x04", "\x1b\r"
Terminal = Callable[..., "pexpect.spawn[str]"]


def pasted(text: str) -> str:
    return f"\x1b[200~{text}\x1b[201~"


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    """Starts the program on a terminal of its own and waits for its first prompt."""
    children: list[pexpect.spawn[str]] = []

    def start(**environment: str) -> pexpect.spawn[str]:
        child = pexpect.spawn(
            sys.executable,
            ["-c", PROGRAM],
            env={
                **os.environ,
                "TERM": "xterm",
                "LANG": "C.UTF-8",
                "XDG_STATE_HOME": str(tmp_path),
                "PROMPT_TOOLKIT_NO_CPR": "1",
                "ENOUGH": str(tmp_path / "enough"),
                **environment,
            },
            encoding="utf-8",
            timeout=PATIENCE_S,
            dimensions=(20, 60),
        )
        children.append(child)
        child.expect_exact("Ctrl-D to leave")
        await_prompt(child)
        return child

    yield start
    for child in children:
        child.close(force=True)


def await_prompt(child: pexpect.spawn[str]) -> None:
    """Until the editor reads: it says then that it knows marks around pasted text."""
    child.expect_exact(["\x1b[?2004h", "> "])


def leave(child: pexpect.spawn[str]) -> None:
    await_prompt(child)
    child.send(CTRL_D)
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 0


def test_a_pasted_text_is_one_message(terminal: Terminal) -> None:
    """Nothing is sent until Enter is pressed, however the text ends."""
    child = terminal()
    child.send(pasted("My parcel XJ20931\r没有到。\r\rPlease help\r") + "!\r")
    child.expect_exact("answer 1: asked ['My parcel XJ20931', '没有到。', '', 'Please help', '!']")
    child.send(pasted("\r".join(f"line {number}" for number in range(200))) + "\r")
    child.expect_exact("answer 2: asked ['line 0', 'line 1',")
    child.expect_exact("'line 199']")
    leave(child)


def test_several_lines_are_typed(terminal: Terminal) -> None:
    child = terminal()
    child.send(f"one{ALT_ENTER}two\\\rthree\r")
    child.expect_exact("answer 1: asked ['one', 'two', 'three']")
    leave(child)


def test_ctrl_c_stops_the_answer_not_the_program(terminal: Terminal) -> None:
    child = terminal()
    child.send("count\r")
    child.expect_exact("<3>")
    child.send(CTRL_C)
    child.expect_exact("2 tokens in")
    await_prompt(child)
    child.send(f"half a message{CTRL_C}")
    child.expect_exact("Ctrl-D or /exit leaves")
    await_prompt(child)
    child.send("next\r")
    child.expect_exact("answer 2: asked ['next']")
    leave(child)


@pytest.mark.parametrize("text", ["typed\r", pasted("one\rtwo") + "\r"])
def test_what_is_typed_during_an_answer_waits_for_its_end(
    terminal: Terminal, tmp_path: Path, text: str
) -> None:
    child = terminal()
    child.send("count\r")
    child.expect_exact("<3>")
    child.send(text)
    child.expect_exact("<9>")
    (tmp_path / "enough").touch()
    child.expect_exact("asked ['count']")
    assert "typed" not in child.before
    assert "one" not in child.before
    child.expect_exact("answer 2: asked " + ("['typed']" if "typed" in text else "['one', 'two']"))
    leave(child)


def test_history_goes_on_in_the_next_conversation(terminal: Terminal, tmp_path: Path) -> None:
    child = terminal()
    child.send(pasted("first\rmessage") + "\r")
    child.expect_exact("answer 1: asked ['first', 'message']")
    leave(child)
    child = terminal()
    child.send(f"{UP} again\r")
    child.expect_exact("answer 1: asked ['first', 'message again']")
    leave(child)
    assert (tmp_path / "unisono" / "chat-history").stat().st_mode & 0o777 == 0o600


def test_a_terminal_that_cannot_move_its_cursor_gets_plain_lines(terminal: Terminal) -> None:
    child = terminal(TERM="dumb")
    child.send("one\\\rtwo\r")
    child.expect_exact("answer 1: asked ['one', 'two']")
    child.send("/help\r")
    child.expect_exact("Each line is a message")
    leave(child)


def test_english_and_chinese_survive_a_narrow_terminal(terminal: Terminal) -> None:
    child = terminal(COLUMNS="40")
    child.setwinsize(15, 40)
    text = "我的包裹还没有到，请帮我查一下，" * 5 + "thank you very much"
    child.send(text + "\r")
    child.expect_exact(f"answer 1: asked ['{text}']")
    child.expect_exact("2 tokens in, 2 out")
    leave(child)
