"""An engine in two processes: the same answers as in one, and a clear end when one of them ends."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch

from tests import checkpoints
from tests.engines import answers, engine, request, run
from tests.near_ties import are_the_same, check_scores
from tests.waiting import PATIENCE_S, until
from unisono.core import EngineConfig, SamplingParams
from unisono.core.errors import ConfigError, EngineDeadError, InsufficientMemoryError
from unisono.engine import Engine
from unisono.engine.ranks import team as ranks
from unisono.engine.ranks.wire import Ready

WINDOWED = {"use_sliding_window": True, "sliding_window": 7, "max_window_layers": 1}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": (
        "llama",
        {
            "attention_bias": True,
            "mlp_bias": True,
            "num_key_value_heads": 1,
            "tie_word_embeddings": True,
        },
    ),
    "qwen2-window": ("qwen2", WINDOWED),
    "qwen3": ("qwen3", {"head_dim": 32}),
    "mistral-window": ("mistral", {"sliding_window": 9}),
}
LENGTHS = (1, 5, 16, 31, 40)
SAMPLED = SamplingParams(temperature=0.9, top_p=0.95, max_tokens=20, ignore_eos=True, logprobs=2)
BLOCKS = 18


def tight(folder: Path, **options: Any) -> Engine:
    """Prompts in chunks, few blocks, a prefix cache."""
    probe = engine(folder)
    bytes_per_block = probe.info.kv_bytes // probe.info.num_blocks
    if options.get("tensor_parallel", 1) > 1:
        bytes_per_block //= min(2, probe.runner.model.config.num_kv_heads)
    return engine(
        folder,
        kv_memory=bytes_per_block * (1 + BLOCKS * len(probe.runner.groups)),
        max_model_len=64,
        max_num_batched_tokens=9,
        **options,
    )


@pytest.fixture(scope="module", params=CASES)
def model(request: pytest.FixtureRequest) -> Any:
    family, options = CASES[request.param]
    return checkpoints.oracle(family, **options)


@pytest.fixture(scope="module")
def pair(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Engine, Engine]]:
    """The engine in one process, and the same in two."""
    folder = checkpoints.save(model, tmp_path_factory.mktemp("model"))
    two = tight(folder, tensor_parallel=2)
    yield tight(folder), two
    two.close()


def test_the_same_greedy_tokens(pair: tuple[Engine, Engine]) -> None:
    one, two = pair
    prompts = checkpoints.prompts(*LENGTHS)
    assert two.info.num_blocks == one.info.num_blocks
    assert are_the_same(one, prompts, answers(two, prompts), answers(one, prompts))
    if len(one.runner.groups) == 1 and one.runner.groups[0].kind == "full":
        assert two.stats().num_preemptions > 0


def test_the_same_tokens_from_the_prefix_cache(pair: tuple[Engine, Engine]) -> None:
    (prompt,) = checkpoints.prompts(30, seed=2)
    first = [answers(each, [prompt])[0] for each in pair]
    again = [run(each, [request("again", prompt)])["again"] for each in pair]
    for found in (first[1], again[0].token_ids, again[1].token_ids):
        assert are_the_same(pair[0], [prompt], [found], [first[0]])
    assert again[1].num_cached_tokens == again[0].num_cached_tokens > 0


def test_the_same_samples_and_logprobs(model: Any, pair: tuple[Engine, Engine]) -> None:
    prompts = checkpoints.prompts(12, 7, 20, seed=3)
    requests = [request(i, p, SAMPLED, seed=i) for i, p in enumerate(prompts)]
    one, two = (run(each, requests) for each in pair)
    for name, expected in one.items():
        assert two[name].token_ids == expected.token_ids
        prompt = prompts[int(name)]
        rows = checkpoints.logprobs(model, prompt + expected.token_ids)[len(prompt) - 1 : -1]
        for done in (two[name], expected):
            for entry, token_id, row in zip(done.logprobs, done.token_ids, rows, strict=True):
                check_scores(entry, token_id, row)


def test_the_same_prompt_logprobs(model: Any, pair: tuple[Engine, Engine]) -> None:
    params = SamplingParams(max_tokens=2, temperature=0.0, prompt_logprobs=2)
    prompts = checkpoints.prompts(21, 5, seed=4)
    for each in pair:
        done = run(each, [request(i, prompt, params) for i, prompt in enumerate(prompts)])
        for i, prompt in enumerate(prompts):
            scored = done[str(i)].prompt_logprobs
            assert scored is not None
            assert scored[0] is None
            rows = checkpoints.logprobs(model, prompt)
            for entry, token_id, row in zip(scored[1:], prompt[1:], rows[:-1], strict=True):
                check_scores(entry, token_id, row)


# -- ends ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoints.save(checkpoints.oracle("llama"), tmp_path_factory.mktemp("llama"))


@pytest.fixture
def started(folder: Path) -> Iterator[Callable[..., Engine]]:
    """Starts engines that a test may break."""
    engines: list[Engine] = []

    def start(**options: Any) -> Engine:
        engines.append(engine(folder, tensor_parallel=2, **options))
        return engines[-1]

    yield start
    for each in engines:
        each.close()


def children(pid: int) -> list[int]:
    """Processes of its own that a process has, those it has not waited for left out."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found if alive(int(child))]


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def rank_of(each: Engine) -> int:
    """Process of rank 1."""
    return each.runner.ranks._owned.members[0].child.pid  # type: ignore[attr-defined]


def test_a_rank_that_is_killed_ends_the_engine(started: Callable[..., Engine]) -> None:
    each = started()
    (prompt,) = checkpoints.prompts(9)
    each.add(request(0, prompt, SamplingParams(max_tokens=200, ignore_eos=True)))
    each.step()
    meeting_place = each.runner.ranks._owned.meeting_place  # type: ignore[attr-defined]
    assert meeting_place.stat().st_mode & 0o777 == 0o700
    os.kill(rank_of(each), signal.SIGKILL)
    with pytest.raises(EngineDeadError, match=r"Rank 1 ended with status -9 \(killed.*2 parts"):
        run(each, [])
    with pytest.raises(EngineDeadError, match="Rank 1 ended"):
        each.step()
    with pytest.raises(EngineDeadError, match="Rank 1 ended"):
        each.check()
    assert not alive(rank_of(each))
    assert not meeting_place.exists()


def test_a_rank_that_fails_says_why(started: Callable[..., Engine]) -> None:
    each = started()
    each.check()
    each.runner.ranks._owned.members[0].link.send(Ready())  # type: ignore[attr-defined]
    until(lambda: not alive(rank_of(each)))
    assert select.select(each.alarms, [], [], 0)[0]
    reason = "Rank 1 failed: ProtocolError: an unknown message"
    with pytest.raises(EngineDeadError, match=reason):
        each.check()
    with pytest.raises(EngineDeadError, match=reason):
        answers(each, checkpoints.prompts(5))


def test_a_step_that_is_interrupted_is_the_last(
    started: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    each = started()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(each.runner.model, "logits", interrupt)
        with pytest.raises(KeyboardInterrupt):
            answers(each, checkpoints.prompts(5))
    with pytest.raises(EngineDeadError, match="Rank 0 failed: KeyboardInterrupt"):
        run(each, [])


def test_a_rank_that_hangs_is_given_up(started: Callable[..., Engine]) -> None:
    each = started()
    each.runner.ranks._owned.group.handle._set_default_timeout(timedelta(seconds=3))  # type: ignore[attr-defined]
    os.kill(rank_of(each), signal.SIGSTOP)
    with pytest.raises(EngineDeadError, match=r"Rank 0 failed: RuntimeError.*3000ms"):
        answers(each, checkpoints.prompts(5))
    assert not alive(rank_of(each))


def test_an_error_in_choosing_tokens_fails_alone_and_one_in_the_model_ends_all(
    started: Callable[..., Engine], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    each = started()
    prompts = checkpoints.prompts(6, 7)
    sound = each.runner.sampler

    def choose(logits: Any, rows: Any, masks: Any) -> Any:
        if any(row.request_id == "0" for row in rows):
            raise ValueError("this request")
        return sound(logits, rows, masks)

    def fail(*_: object) -> None:
        raise MemoryError("too small")

    monkeypatch.setattr(each.runner, "sampler", choose)
    done = run(each, [request(i, prompt) for i, prompt in enumerate(prompts)])
    assert done["0"].finish_reason == "error"
    one = engine(folder)
    assert are_the_same(one, prompts[1:], [done["1"].token_ids], answers(one, prompts[1:]))
    monkeypatch.setattr(each.runner.model, "logits", fail)
    with pytest.raises(EngineDeadError, match="Rank 0 failed: MemoryError: too small"):
        run(each, [request(2, prompts[1])])
    assert not alive(rank_of(each))


@pytest.mark.parametrize(("threads", "each_rank"), [(5, 2), (1, 1)])
def test_ranks_divide_the_threads(
    started: Callable[..., Engine], threads: int, each_rank: int
) -> None:
    before = torch.get_num_threads()
    try:
        each = started(threads=threads)
        assert torch.get_num_threads() == each_rank
        environment = Path(f"/proc/{rank_of(each)}/environ").read_bytes().split(b"\0")
        assert f"OMP_NUM_THREADS={each_rank}".encode() in environment
        each.close()
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_closing_and_forgetting_leave_nothing_behind(started: Callable[..., Engine]) -> None:
    threads = torch.get_num_threads()
    each = started()
    rank = rank_of(each)
    each.close()
    each.close()
    assert not alive(rank)
    assert torch.get_num_threads() == threads


PROGRAM = """
import sys, time
from pathlib import Path
from unisono.core import EngineConfig
from unisono.engine import build_engine
config = EngineConfig(device="cpu", kv_memory=1 << 20, tensor_parallel=2)
engine = build_engine(Path(sys.argv[1]), config)
print(engine.runner.ranks._owned.members[0].child.pid, flush=True)
time.sleep(3600)
"""


def test_no_rank_outlives_a_program_that_is_killed(folder: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(folder)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    rank = int(process.stdout.readline())
    process.kill()
    process.wait(PATIENCE_S)
    until(lambda: not alive(rank))


# -- starts that fail ---------------------------------------------------------------------------


def test_what_cannot_be_divided(folder: Path) -> None:
    before = children(os.getpid())
    with pytest.raises(ConfigError, match="4 attention heads do not divide among 3 ranks"):
        engine(folder, tensor_parallel=3)
    assert children(os.getpid()) == before


@pytest.mark.parametrize("number", [0, -1])
def test_no_ranks_at_all(number: int) -> None:
    with pytest.raises(ConfigError, match=f"tensor_parallel must be at least 1, not {number}"):
        EngineConfig(tensor_parallel=number)


def test_a_rank_that_ends_while_it_loads(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "_COMMAND", ("/bin/false",))
    with pytest.raises(EngineDeadError, match="Rank 1 ended with status 1"):
        engine(folder, tensor_parallel=2)


FAILING = """
import socket, sys, time
from unisono.core.errors import InsufficientMemoryError
from unisono.core.frames import Link
from unisono.engine.ranks.wire import TO_RANK, Failed
link = Link(socket.socket(fileno=int(sys.argv[2])), *TO_RANK)
link.receive_one()
link.send(Failed(InsufficientMemoryError("No room.", hint="Less."), 1.0))
"""


def test_a_rank_that_cannot_load_says_why(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "_COMMAND", (sys.executable, "-c", FAILING))
    with pytest.raises(InsufficientMemoryError, match=r"No room\. Less\."):
        engine(folder, tensor_parallel=2)
