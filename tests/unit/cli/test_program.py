"""The program as a whole: help, versions, start-up, devices, serve's settings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import types
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

from unisono import __version__
from unisono.cli.serve import SETTINGS, default_model_name

VERBS = ("run", "chat", "serve", "bench", "devices")


def test_help_lists_the_verbs(program: Any) -> None:
    outcome = program("--help")
    assert outcome.code == 0
    assert all(f"  {verb}" in outcome.out for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_teaches_by_example(program: Any, verb: str) -> None:
    outcome = program(verb, "--help")
    assert outcome.code == 0
    assert f"Examples:\n    unisono {verb}" in outcome.out


@pytest.mark.parametrize(
    ("words", "says", "place"),
    [
        (("run", "--threads", "0"), "'--threads'", "unisono run"),
        (("rnu",), "Did you mean 'run'?", "unisono"),
        (("run", "--nope"), "--nope", "unisono run"),
        (("serve", "--port", "x"), "'--port'", "unisono serve"),
        (("quantize",), "'--out'", "unisono quantize"),
    ],
)
def test_what_is_wrong_with_a_command_line_is_one_line_and_a_hint(
    program: Any, words: tuple[str, ...], says: str, place: str
) -> None:
    outcome = program(*words)
    error, hint = outcome.err.splitlines()
    assert (outcome.code, outcome.out) == (2, "")
    assert error.startswith("error: ")
    assert error.endswith((".", "?"))
    assert says in error
    assert hint == f"hint: `{place} --help` says what there is."


def test_without_a_verb_it_says_what_there_is(program: Any) -> None:
    outcome = program()
    assert (outcome.code, outcome.out) == (2, "")
    assert "Start here" in outcome.err


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no such device here")
@pytest.mark.parametrize("word", ["--help", "--version"])
def test_help_that_cannot_be_written_is_an_error_in_words(word: str) -> None:
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            [sys.executable, "-m", "unisono", word], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert result.returncode == 1
    assert result.stderr.startswith("error: Not everything could be written")
    assert len(result.stderr.splitlines()) == 2


def test_version(program: Any) -> None:
    assert program("--version").out.startswith(f"unisono {__version__} (torch ")


def test_help_imports_nothing_heavy() -> None:
    heavy = "torch, numpy, fastapi, uvicorn, huggingface_hub, transformers, tokenizers, jinja2"
    script = (
        "import sys; from unisono.cli import main; sys.argv = ['unisono', 'run', '--help']\n"
        "try: main()\n"
        f"except SystemExit: print([m for m in {heavy.split(', ')!r} if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert result.stdout.endswith("[]\n")


@dataclass
class FakeDevice:
    index: int
    description: str = "Some chip [x]"
    total_memory: int = 64 << 30
    free_memory: int = 63 << 30


@dataclass
class FakeReport:
    name: str
    present: bool
    reason: str = ""
    devices: tuple[FakeDevice, ...] = ()
    dtypes: tuple[str, ...] = ("bfloat16",)
    status: str = "unverified"
    module: str = "torch"
    vendor: str = "Some vendor"
    features: tuple[str, ...] = ("graphs",)


@pytest.fixture
def hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("unisono.hardware.discovery")
    module.discover = lambda: [  # type: ignore[attr-defined]
        FakeReport("gpu", False, "torch finds no gpu device"),
        FakeReport("npu", True, devices=(FakeDevice(0), FakeDevice(1))),
        FakeReport("cpu", True, devices=(FakeDevice(0),), status="verified"),
    ]
    monkeypatch.setitem(sys.modules, "unisono.hardware.discovery", module)
    monkeypatch.setenv("COLUMNS", "140")


@pytest.mark.usefixtures("hardware")
def test_devices_shows_each_that_is_here_and_why_others_are_not(program: Any) -> None:
    lines = program("devices").out.splitlines()
    assert lines[0].split()[:2] == ["device", "what"]
    assert [line.split()[0] for line in lines[1:4]] == ["npu:0", "npu:1", "cpu"]
    assert "Some chip [x]" in lines[1]
    assert "63.0 GiB / 64.0 GiB" in lines[1]
    assert "graphs" in lines[1]
    assert lines[5].startswith("not here")
    assert lines[6].split()[0] == "gpu"
    assert "torch finds no gpu device" in lines[6]


@pytest.mark.usefixtures("hardware")
def test_devices_as_json(program: Any) -> None:
    reports = json.loads(program("devices", "--json").out)
    assert [report["name"] for report in reports] == ["gpu", "npu", "cpu"]
    assert reports[1]["devices"][1]["index"] == 1


def test_what_clients_call_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_model_name(None) == "unisono-demo"
    assert default_model_name("org/name") == "org/name"
    assert default_model_name("modelscope:org/name") == "org/name"
    (tmp_path / "tiny").mkdir()
    monkeypatch.chdir(tmp_path / "tiny")
    assert default_model_name(".") == "tiny"


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    settings: list[Any] = []
    module = types.ModuleType("unisono.server.run")
    module.serve = settings.append  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "unisono.server.run", module)
    monkeypatch.delenv("UNISONO_API_KEY", raising=False)
    return settings


def test_serve_hands_its_options_over(program: Any, served: list[Any], tmp_path: Path) -> None:
    keys = tmp_path / "keys.txt"
    keys.write_text("key-from-file\n")
    words = ["--host", "0.0.0.0", "--port", "9000", "--api-key", "key-number-one"]
    words += ["--api-key", "key-number-two", "--api-key-file", str(keys), "--max-queue", "5"]
    words += ["--served-model-name", "a", "--served-model-name", "b", "--kv-memory", "1GiB"]
    words += ["--no-prefix-cache", "--max-model-len", "128"]
    outcome = program("serve", str(tmp_path), *words)
    assert (outcome.code, outcome.err) == (0, "")
    (settings,) = served
    assert (settings.host, settings.port) == ("0.0.0.0", 9000)
    assert settings.model_folder == tmp_path
    assert settings.model_names == ("a", "b")
    assert settings.api_keys == ("key-number-one", "key-number-two", "key-from-file")
    engine = settings.engine
    assert (engine.kv_memory, engine.max_queue, engine.max_model_len) == (1 << 30, 5, 128)
    assert not engine.prefix_cache


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text("{}")
    return tmp_path


SERVER_OPTIONS: list[tuple[str, list[str], Any]] = [
    ("host", ["--host", "127.0.0.2"], "127.0.0.2"),
    ("port", ["--port", "0"], 0),
    ("watchdog_s", ["--watchdog", "2.5"], 2.5),
    ("keep_alive_s", ["--keep-alive", "7"], 7.0),
    ("cors_origins", ["--cors-origin", "https://a.example"], ("https://a.example",)),
    ("cors_origins", ["--cors-origin", "*", "--cors-origin", "null"], ("*", "null")),
    ("allowed_hosts", ["--allowed-host", "a.lan", "--allowed-host", "b.lan"], ("a.lan", "b.lan")),
    ("tool_format", ["--tool-format", "mistral"], "mistral"),
    ("store", ["--store", "turns.sqlite"], Path("turns.sqlite")),
    ("batch_dir", ["--batch-dir", "batches"], Path("batches")),
    ("strict", ["--strict"], True),
    ("insecure", ["--insecure"], True),
]


@pytest.mark.parametrize(("name", "words", "expected"), SERVER_OPTIONS)
def test_serve_changes_the_one_setting_it_is_told(
    program: Any, served: list[Any], folder: Path, name: str, words: list[str], expected: Any
) -> None:
    """``tests/unit/server`` and ``tests/integration/server`` have what each setting does."""
    assert program("serve", str(folder)).code == 0
    assert program("serve", str(folder), *words).code == 0
    usual, told = (asdict(settings) for settings in served)
    assert usual[name] != expected
    assert told == {**usual, name: expected}


def test_adapters_that_may_come_have_room(program: Any, served: list[Any], folder: Path) -> None:
    assert program("serve", str(folder), "--adapters-dir", str(folder)).code == 0
    assert served[0].adapters_dir == folder
    assert served[0].engine.max_adapters == 8


def test_every_server_option_is_tried() -> None:
    tried = {name for name, _, _ in SERVER_OPTIONS} | {"adapters_dir"}
    assert tried == SETTINGS.types.keys()


def test_serve_is_open_to_others_only_when_told(
    program: Any, served: list[Any], folder: Path
) -> None:
    refused = program("serve", str(folder), "--host", "0.0.0.0")
    assert refused.code != 0
    assert "there is no API key" in refused.err
    assert "--insecure" in refused.err
    assert not served
    assert program("serve", str(folder), "--host", "0.0.0.0", "--insecure").code == 0
    assert served[0].host == "0.0.0.0"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--watchdog", "0"], "The watchdog's seconds must be above 0"),
        (["--keep-alive", "-1"], "keep_alive_s must not be negative"),
        (["--cors-origin", "chat.example"], "'chat.example' is no origin of a web page"),
        (["--allowed-host", "http://a.lan"], "'http://a.lan' is no name of a host"),
    ],
)
def test_serve_refuses_values_that_mean_nothing(
    program: Any, served: list[Any], folder: Path, words: list[str], says: str
) -> None:
    refused = program("serve", str(folder), *words)
    assert refused.code != 0
    assert says in refused.err
    assert not served
