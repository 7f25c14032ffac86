"""``unisono run`` against a stand-in for the engine."""

from __future__ import annotations

import io
import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.conftest import FakeEngine
from unisono.cli.run import EXAMPLE_MESSAGE, sort_words
from unisono.core import SamplingDefaults
from unisono.core.errors import InsufficientMemoryError, QueueFullError, RequestFailedError


def test_a_single_word_is_a_prompt_or_a_model(tmp_path: Path) -> None:
    assert sort_words(None, None) == (None, None)
    assert sort_words("Hello there", None) == (None, "Hello there")
    assert sort_words("Qwen/Qwen3-0.6B", None) == ("Qwen/Qwen3-0.6B", None)
    assert sort_words("modelscope:a/b", None) == ("modelscope:a/b", None)
    assert sort_words(str(tmp_path), None) == (str(tmp_path), None)
    assert sort_words("anything", "Hello") == ("anything", "Hello")


def test_the_answer_is_on_stdout_and_figures_on_stderr(program: Any, fake_llm: Any) -> None:
    outcome = program("run", "some/model", "Hi", "--device", "cpu", "--seed", "3")
    assert (outcome.code, outcome.out) == (0, "Hello [bold]world[/bold]!\n")
    assert outcome.err.startswith("2 tokens in, 3 out · first after ")
    assert outcome.err.endswith("\nnote: this could be faster.\n")
    llm = fake_llm.last
    assert (llm.model, llm.options["device"], llm.params[0].seed) == ("some/model", "cpu", 3)
    assert llm.conversations == [[{"role": "user", "content": "Hi"}]]


def test_options_reach_the_engine(program: Any, fake_llm: Any) -> None:
    words = "--system S --temperature 0.5 --top-p 0.9 --top-k 7 --max-tokens 9 --kv-memory 1GiB"
    outcome = program("run", "Hi", *words.split(), "--max-model-len", "99", "--dtype", "bfloat16")
    assert outcome.code == 0
    params, options = fake_llm.last.params[0], fake_llm.last.options
    assert (params.temperature, params.top_p, params.top_k, params.max_tokens) == (0.5, 0.9, 7, 9)
    assert (options["kv_memory"], options["max_model_len"]) == (1 << 30, 99)
    assert options["dtype"] == "bfloat16"
    assert fake_llm.last.conversations[0][0] == {"role": "system", "content": "S"}


@pytest.mark.parametrize(("room", "expected"), [(2048, 1024), (9, 7), (2, 1), (1, 1)])
def test_an_answer_fits_into_the_context(
    program: Any, fake_llm: Any, monkeypatch: pytest.MonkeyPatch, room: int, expected: int
) -> None:
    """The answer takes the room that is left where nobody said how long it is to be. A prompt that
    does not fit is the engine's to refuse."""
    monkeypatch.setattr(FakeEngine.info, "max_model_len", room)
    assert program("run", "Hi").code == 0
    assert fake_llm.last.params[0].max_tokens == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], {"temperature": 0.6, "top_k": 20, "top_p": 1.0}),
        (["--temperature", "0"], {"temperature": 0.0, "top_k": 20}),
        (["--top-k", "0", "--top-p", "0.5"], {"temperature": 0.6, "top_k": 0, "top_p": 0.5}),
    ],
    ids=str,
)
def test_the_model_recommends_what_the_user_leaves_open(
    program: Any,
    fake_llm: Any,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    expected: dict[str, float],
) -> None:
    monkeypatch.setattr(fake_llm, "recommended", SamplingDefaults(temperature=0.6, top_k=20))
    for verb in ("run", "chat"):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"Hi\n")))
        outcome = program(verb, "some/model", *(["Hi"] if verb == "run" else []), *words)
        assert outcome.code == 0
        chosen = fake_llm.last.params[0].chosen().said()
        assert {name: chosen[name] for name in expected} == expected
        assert (" · greedy" if chosen["temperature"] == 0 else "temperature 0.6") in outcome.err
        assert fake_llm.last.options["generation_config"] == "auto"
    record = json.loads(program("run", "Hi", *words, "--json").out)
    assert {name: record["sampling"][name] for name in expected} == expected


@pytest.mark.parametrize(("verb", "temperature", "top_p"), [("run", 0.0, 1.0), ("chat", 0.7, 0.95)])
def test_where_nobody_says_anything(
    program: Any,
    fake_llm: Any,
    monkeypatch: pytest.MonkeyPatch,
    verb: str,
    temperature: float,
    top_p: float,
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"Hi\n")))
    words = [verb, "some/model", *(["Hi"] if verb == "run" else [])]
    assert program(*words, "--generation-config", "none").code == 0
    params = fake_llm.last.params[0]
    assert (params.temperature, params.top_p, params.top_k) == (temperature, top_p, 0)
    assert fake_llm.last.options["generation_config"] == "none"


def test_raw_leaves_the_template_out(program: Any, fake_llm: Any) -> None:
    outcome = program("run", "Once upon", "--raw")
    assert outcome.code == 0
    assert outcome.err.startswith("9 tokens in")
    assert fake_llm.last.conversations == []
    assert fake_llm.last.prompts == ["Once upon"]


def test_json_is_one_object_and_nothing_else(program: Any) -> None:
    outcome = program("run", "你好", "--json")
    record = json.loads(outcome.out)
    assert record["text"] == "Hello [bold]world[/bold]!"
    assert record["token_ids"] == [0, 1, 2]
    assert record["finish_reason"] == "stop"
    usage = {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}
    assert record["usage"] == usage
    assert set(record["timings"]) == {"load_s", "first_token_s", "total_s", "tokens_per_s"}
    assert outcome.err == ""


def _pipe(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    reader, writer = os.pipe()
    os.write(writer, content)
    os.close(writer)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(os.fdopen(reader, "rb")))


def test_a_prompt_may_be_piped_in(
    program: Any, fake_llm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _pipe(monkeypatch, "账户 6222\n".encode())
    assert program("run").code == 0
    assert fake_llm.last.conversations == [[{"role": "user", "content": "账户 6222"}]]


def test_bytes_that_are_no_text(program: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _pipe(monkeypatch, b"\xff\xfe\x00")
    outcome = program("run")
    assert outcome.code == 2
    assert outcome.err.startswith("error: Standard input is not UTF-8 text.")


@pytest.mark.parametrize("word", ["-", None])
def test_a_dash_is_standard_input(
    program: Any, fake_llm: Any, monkeypatch: pytest.MonkeyPatch, word: str | None
) -> None:
    _pipe(monkeypatch, b"\xef\xbb\xbf one\n\ntwo \n")
    assert program("run", *([] if word is None else [word])).code == 0
    assert fake_llm.last.conversations == [[{"role": "user", "content": "one\n\ntwo"}]]


def test_a_pipe_goes_behind_the_prompt(
    program: Any, fake_llm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _pipe(monkeypatch, b"letter\n")
    assert program("run", "some/model", "Summarise this:").code == 0
    assert fake_llm.last.model == "some/model"
    assert fake_llm.last.conversations[0][0]["content"] == "Summarise this:\n\nletter"


def test_a_file_is_read_like_a_pipe(
    program: Any, fake_llm: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "letter").write_text("letter")
    with (tmp_path / "letter").open() as file:
        monkeypatch.setattr("sys.stdin", file)
        assert program("run", "some/model", "Summarise this:", "--raw").code == 0
    assert fake_llm.last.prompts == ["Summarise this:\n\nletter"]


def test_a_socket_beside_a_prompt_is_left_alone(
    program: Any, fake_llm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever started the program may never close it."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(b"from the socket")
        with io.TextIOWrapper(theirs.makefile("rb")) as stdin:
            monkeypatch.setattr("sys.stdin", stdin)
            assert program("run", "Hi").code == 0
            assert fake_llm.last.conversations[0][0]["content"] == "Hi"
            ours.shutdown(socket.SHUT_WR)
            assert program("run").code == 0
    assert fake_llm.last.conversations[0][0]["content"] == "from the socket"


@pytest.mark.parametrize("content", [b"", b" \n\t\n"])
@pytest.mark.parametrize("words", [[], ["-"], ["Summarise this:"]])
def test_a_pipe_with_nothing_in_it(
    program: Any, monkeypatch: pytest.MonkeyPatch, words: list[str], content: bytes
) -> None:
    _pipe(monkeypatch, content)
    outcome = program("run", *words)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("error: Standard input is empty.\nhint: ")


@pytest.mark.parametrize("stdin", [None, "terminal"])
def test_a_dash_without_anything_to_read(
    program: Any, monkeypatch: pytest.MonkeyPatch, stdin: Any
) -> None:
    monkeypatch.setattr("sys.stdin", stdin)
    outcome = program("run", "-")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("error: Standard input cannot be read")


@pytest.mark.parametrize("words", [[""], [" "], ["some/model", ""], ["some/model", "\n"]])
def test_an_empty_prompt_says_so(program: Any, words: list[str]) -> None:
    outcome = program("run", *words)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("error: The prompt is empty.\nhint: ")


def test_without_a_prompt_an_example_is_shown_first(
    program: Any, fake_llm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open(os.devnull) as nothing:
        monkeypatch.setattr("sys.stdin", nothing)
        outcome = program("run")
        assert outcome.out == f"example message: {EXAMPLE_MESSAGE}\n\nHello [bold]world[/bold]!\n"
        assert json.loads(program("run", "--json").out)["text"].startswith("Hello")
        monkeypatch.setattr(fake_llm, "has_template", False)
        outcome = program("run")
        assert (outcome.code, outcome.out) == (2, "")


def test_raw_and_system_exclude_one_another(program: Any) -> None:
    outcome = program("run", "Hi", "--raw", "--system", "S")
    assert outcome.code == 2
    assert "--system" in outcome.err


def test_a_model_without_a_template_points_to_raw(
    program: Any, fake_llm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake_llm, "has_template", False)
    outcome = program("run", "Hi")
    assert outcome.code == 2
    assert "--raw" in outcome.err


def _raise(error: BaseException) -> Any:
    def fail(index: int) -> None:
        if index == 1:
            raise error

    return staticmethod(fail)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InsufficientMemoryError("Too big.", hint="Use less."), 2),
        (RequestFailedError("Not a number.", hint="Use less."), 1),
        (QueueFullError("Too many.", retry_after_s=1, hint="Use less."), 1),
    ],
)
def test_errors_are_two_lines_and_an_exit_code(
    program: Any, fake_llm: Any, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int
) -> None:
    monkeypatch.setattr(fake_llm, "fail", _raise(error))
    outcome = program("run", "Hi")
    assert outcome.code == code
    assert outcome.err == f"error: {error.args[0]}\nhint: Use less.\n"


def test_an_error_of_ours_is_no_traceback_either(
    program: Any, fake_llm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake_llm, "fail", _raise(ZeroDivisionError("oops")))
    outcome = program("run", "Hi")
    assert outcome.code == 1
    assert outcome.err.startswith("error: ZeroDivisionError: oops\nhint: ")
    assert "UNISONO_DEBUG=1" in outcome.err
    monkeypatch.setenv("UNISONO_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        program("run", "Hi")


def test_ctrl_c_ends_the_request_and_the_program(
    program: Any, fake_llm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake_llm, "fail", _raise(KeyboardInterrupt()))
    assert program("run", "Hi").code == 130
    assert fake_llm.last.closed == 1


@pytest.mark.parametrize(
    "words",
    [
        ["run", "Hi", "--temperature", "-1"],
        ["run", "Hi", "--top-p", "7"],
        ["run", "Hi", "--max-tokens", "many"],
        ["run", "Hi", "--kv-memory", "lots"],
        ["run", "Hi", "--dtype", "int3"],
        ["run", "Hi", "--no-such-option"],
        ["run", "a", "b", "c"],
        ["run", "Hi", "--threads", "0"],
        ["serve", "--threads", "2000"],
        ["check", "cpu", "--threads", "many"],
        ["no-such-verb"],
        ["bench", "--batch", "1,x"],
        ["bench", "--batch", "0"],
        ["serve", "--port", "99999"],
        ["serve", "--host", "0.0.0.0"],
        ["serve", "--kv-memory", "lots"],
        ["serve", "--dtype", "int3"],
        ["serve", "--api-key-file", "/no/such/file"],
    ],
)
def test_wrong_options_exit_with_2_and_say_why(
    program: Any, words: list[str], tmp_path: Path
) -> None:
    if words[0] == "serve":
        words = ["serve", str(tmp_path), *words[1:]]
    outcome = program(*words)
    assert outcome.code == 2
    assert "error" in outcome.err.lower()
    assert "Traceback" not in outcome.err
