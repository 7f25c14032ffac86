"""The engine on unisono-cpu: what a user asks of a processor, and what a processor may lack."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import unisono_cpu as uc
from unisono_cpu.processor import ISA_VARIABLE

from tests import checkpoints
from tests.engines import answers, engine
from tests.near_ties import are_the_same
from unisono.conformance import Options, check_device

PEERS = Path(__file__).parents[3] / "benchmarks" / "peers"
PROMPTS = checkpoints.prompts(5, 17, 70, 33)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = checkpoints.oracle("qwen3", tie_word_embeddings=True)
    return checkpoints.save(model, tmp_path_factory.mktemp("model"))


@pytest.fixture
def threads() -> Iterator[None]:
    count = torch.get_num_threads()
    yield
    torch.set_num_threads(count)


@pytest.mark.parametrize("weights", ["auto", "int8", "int4", "int4-asym-g64"])
def test_tokens_depend_on_no_batch_no_chunk_and_no_number_of_threads(
    folder: Path, weights: str, threads: None
) -> None:
    expected = answers(engine(folder, weights=weights), PROMPTS)
    for count in (1, 2, 2 * (os.cpu_count() or 1) + 1):
        torch.set_num_threads(count)
        alone = engine(folder, weights=weights, max_num_seqs=1)
        assert uc.threads() == count
        assert [answers(alone, [prompt])[0] for prompt in PROMPTS] == expected
        assert (
            answers(engine(folder, weights=weights, max_num_batched_tokens=9), PROMPTS) == expected
        )


def test_both_pools_have_the_threads_that_were_asked_for(folder: Path, threads: None) -> None:
    expected = answers(engine(folder, threads=1), PROMPTS[:1])
    for count in (3, 1):
        each = engine(folder, threads=count)
        assert (uc.threads(), torch.get_num_threads()) == (count, count)
        assert answers(each, PROMPTS[:1]) == expected


@pytest.mark.parametrize("isa", uc.available_isas())
def test_every_instruction_set_gives_the_same_greedy_tokens(
    folder: Path, isa: str, isas: None
) -> None:
    best = engine(folder)
    expected = answers(best, PROMPTS)
    uc.set_isa(isa)
    found = answers(engine(folder), PROMPTS)
    uc.set_isa(None)
    assert are_the_same(best, PROMPTS, found, expected)


@pytest.mark.parametrize("weights", ["auto", "int4"])
def test_what_no_kernel_covers_is_counted(folder: Path, weights: str) -> None:
    covered, other = (
        engine(folder, weights=weights),
        engine(folder, dtype="float16", weights=weights),
    )
    for one in (covered, other):
        assert all(len(answer) == 24 for answer in answers(one, PROMPTS))
    assert not covered.runner.hardware.ops.fallbacks
    assert any(what.startswith("attention float16") for what in other.runner.hardware.ops.fallbacks)


def test_a_cache_of_8_bits_runs_as_the_reference_and_is_counted(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    native = engine(folder, kv_dtype="int8")
    found = answers(native, PROMPTS)
    (counted,) = {what.partition("[")[0] for what in native.runner.hardware.ops.fallbacks}
    assert counted == "attention over a cache of 8 bits, float32 "
    monkeypatch.setenv("UNISONO_IGNORE_PACKAGES", "unisono-cpu")
    assert answers(engine(folder, kv_dtype="int8"), PROMPTS) == found


def test_the_kit_checks_every_instruction_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """The best one under the plain name. One that is forced would be the only one."""
    monkeypatch.delenv(ISA_VARIABLE, raising=False)
    run = check_device(Options(device="cpu", quick=True, only=("ops.linear", "ops.silu_mul")))
    assert run.passed
    found = {result.check for result in run.results}
    others = [isa for isa in uc.available_isas() if f"ops.linear@{isa}" in found]
    assert "ops.linear" in found
    assert len(others) == len(uc.available_isas()) - 1


def run(command: list[str], isa: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        env={**os.environ, ISA_VARIABLE: isa, "UNISONO_IGNORE_PACKAGES": ""},
        input="",
        capture_output=True,
        text=True,
    )


def test_an_instruction_set_that_is_not_here_is_one_clear_line(folder: Path) -> None:
    """The bench runs to its end, on the best there is."""
    words = "--device cpu --kv-memory 4MiB --prompt 16 --generate 4 --batch 1 --repeat 1 --json"
    done = run(["-m", "unisono", "bench", str(folder), *words.split()], "avx1024")
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "avx1024" in line]
    assert f"the {uc.available_isas()[0]} kernels run instead" in line
    assert "Traceback" not in done.stderr
    (batch,) = json.loads(done.stdout)["batches"]
    assert batch["decode_tokens_per_s"] > 0


def test_a_worker_of_a_comparison_runs_what_was_asked_for_or_ends(folder: Path) -> None:
    worker = [str(PEERS / "unisono_worker.py"), str(folder), "auto", "1"]
    assert run(worker, "portable").returncode == 0
    done = run(worker, "avx1024")
    assert done.returncode != 0
    assert f"avx1024 was asked for; native kernels ({uc.available_isas()[0]}" in done.stderr
