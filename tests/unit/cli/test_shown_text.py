"""Text that a locale cannot show is escaped, with one note; input is UTF-8 all the same."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.waiting import PATIENCE_S

ASCII = {"PYTHONIOENCODING": "ascii"}
C_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
START = "import sys\nfrom unisono.cli import shown_text\nshown_text.prepare_streams()\n"


def run(program: str, *words: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    names = ("PYTHONIOENCODING", "PYTHONUTF8", "LC_ALL", "LANG", "LC_CTYPE")
    clean = {name: value for name, value in os.environ.items() if name not in names}
    return subprocess.run(
        [sys.executable, "-c", START + program, *words],
        env={**clean, **environment},
        input="你好\n".encode(),
        capture_output=True,
        check=True,
        timeout=PATIENCE_S,
    )


@pytest.mark.parametrize("environment", [ASCII, C_LOCALE], ids=["encoding", "locale"])
def test_what_cannot_be_shown_is_escaped_and_said_once(environment: dict[str, str]) -> None:
    tell = "shown_text.tell_what_was_escaped()\n"
    result = run("print('\\u8ba2\\u5355 ok \\xe9')\n" + tell + tell, **environment)
    assert result.stdout == b"\\u8ba2\\u5355 ok \\xe9\n"
    note = result.stderr.decode()
    assert note.startswith("note: ascii cannot show all of this text")
    assert "LANG=C.UTF-8" in note
    assert note.count("\n") == 1


def test_nothing_is_said_where_everything_can_be_shown() -> None:
    program = "print('订单')\nprint('订单', chr(0xd800), file=sys.stderr)\n"
    result = run(program + "shown_text.tell_what_was_escaped()", LANG="C.UTF-8", PYTHONUTF8="1")
    assert result.stdout.decode() == "订单\n"
    assert result.stderr.decode() == "订单 \\ud800\n"


@pytest.mark.parametrize("environment", [ASCII, C_LOCALE], ids=["encoding", "locale"])
def test_figures_on_a_line_are_set_apart_in_any_encoding(environment: dict[str, str]) -> None:
    program = "print(shown_text.middle_dot(sys.stdout))\nshown_text.tell_what_was_escaped()"
    result = run(program, **environment)
    assert (result.stdout, result.stderr) == (b" | \n", b"")


@pytest.mark.parametrize("environment", [ASCII, C_LOCALE], ids=["encoding", "locale"])
def test_input_is_utf_8_where_the_locale_knows_ascii(environment: dict[str, str]) -> None:
    assert run("print(ascii(sys.stdin.read()))", **environment).stdout == b"'\\u4f60\\u597d\\n'\n"


@pytest.mark.parametrize("environment", [C_LOCALE, {"LANG": "C.UTF-8"}], ids=["C", "UTF-8"])
def test_words_of_the_command_line_are_utf_8_too(environment: dict[str, str]) -> None:
    read = "from unisono.cli.prompt_text import whole_text\n"
    program = read + "print(ascii(whole_text(sys.argv[1], 'It')))"
    assert run(program, "你好", **environment).stdout == b"'\\u4f60\\u597d'\n"
