"""``--tp`` on the command line, with the built-in model."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from unisono import LLM, SamplingParams
from unisono.cli.bench import bench
from unisono.core.errors import ConfigError

PROGRAM = [sys.executable, "-c", "from unisono.cli import main; main()"]
PROMPT = "Where is my parcel?"


def unisono(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *words], capture_output=True, text=True, stdin=subprocess.DEVNULL
    )


def test_run_answers_the_same_in_two_parts() -> None:
    llm = LLM(device="cpu", dtype="float32", kv_memory="16MiB")
    (whole,) = llm.chat(
        [{"role": "user", "content": PROMPT}], SamplingParams(temperature=0.0, max_tokens=16)
    )
    done = unisono(
        *("run", PROMPT, "--device", "cpu", "--dtype", "float32", "--tp", "2"),
        *("--max-tokens", "16", "--kv-memory", "16MiB", "--json"),
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["token_ids"] == whole.token_ids
    assert done.stderr == ""


def test_bench_says_how_many_ranks_there_were(capsys: pytest.CaptureFixture[str]) -> None:
    options = {"device": "cpu", "kv_memory": "16MiB", "tensor_parallel": 2, "batch": "1"}
    bench(prompt=8, generate=4, repeat=1, as_json=False, **options)
    assert "on each of 2 ranks" in capsys.readouterr().out


def test_a_number_of_ranks_that_cannot_be() -> None:
    done = unisono("run", PROMPT, "--device", "cpu", "--tp", "3")
    assert done.returncode != 0
    assert "do not divide among 3 ranks" in done.stderr
    assert "Traceback" not in done.stderr
    with pytest.raises(ConfigError, match="divide"):
        LLM(device="cpu", kv_memory="16MiB", tensor_parallel=3)
