"""The pool, the choice of instruction set, and the library as a process meets it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest
import torch
import unisono_cpu as uc

from unisono.core.errors import ConfigError

SCRIPT = """
import torch, unisono_cpu as uc
torch.manual_seed(0)
x = torch.randn(3, 64)
packed = uc.pack(torch.randn(40, 64), "int4", 32)
error = (uc.linear(x, packed) - x @ packed.unpack().T).norm() / x.norm()
print(uc.isa(), uc.threads(), bool(error < 0.1))
"""


def run(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False,
        env={**os.environ, **environment},
    )  # fmt: skip


@pytest.mark.parametrize("name", uc.available_isas())
def test_an_isa_can_be_forced_from_outside(name: str) -> None:
    done = run(SCRIPT, UNISONO_CPU_ISA=name)
    assert done.stdout.split()[0::2] == [name, "True"], done.stderr


def test_where_an_isa_is_not_to_be_had_another_runs_and_one_line_says_so() -> None:
    done = run(SCRIPT, UNISONO_CPU_ISA="sse9")
    best = uc.available_isas()[0]
    assert done.stdout.split()[0::2] == [best, "True"]
    (line,) = done.stderr.splitlines()
    assert "UNISONO_CPU_ISA=sse9: instruction set 'sse9' is not known" in line
    assert f"the {best} kernels run instead" in line


def test_a_child_does_not_say_it_again() -> None:
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SCRIPT!r}])"
    done = run(SCRIPT + child, UNISONO_CPU_ISA="sse9")
    best = uc.available_isas()[0]
    assert [line.split()[0] for line in done.stdout.splitlines()] == [best, best]
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("name", uc.available_isas())
def test_a_child_takes_the_set_that_was_asked_for(name: str) -> None:
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SCRIPT!r}])"
    done = run(SCRIPT + child, UNISONO_CPU_ISA=name)
    assert [line.split()[0] for line in done.stdout.splitlines()] == [name, name]


def test_an_unknown_isa_is_a_clear_error() -> None:
    with pytest.raises(ConfigError, match=r"avx1024.*portable"):
        uc.set_isa("avx1024")


def test_the_best_isa_is_the_default() -> None:
    uc.set_isa("portable")
    assert uc.isa() == "portable"
    uc.set_isa(None)
    assert uc.isa() == uc.available_isas()[0]


def test_thread_counts() -> None:
    for count in (1, 3, 40, 2):
        uc.set_threads(count)
        assert uc.threads() == count
        assert uc.argmax(torch.eye(50)).tolist() == list(range(50))
    for count in (0, -1, 100_000):
        with pytest.raises(ValueError, match="threads"):
            uc.set_threads(count)


def test_calls_from_many_threads() -> None:
    packed = uc.pack(torch.randn(64, 64), "bf16")
    x = torch.randn(5, 64)
    expected = uc.linear(x, packed)
    wrong: list[int] = []

    def work() -> None:
        for _ in range(200):
            if not torch.equal(uc.linear(x, packed), expected):
                wrong.append(1)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_has_a_pool_of_its_own() -> None:
    script = """
import os, torch, unisono_cpu as uc
uc.set_threads(3)
packed = uc.pack(torch.randn(64, 64), "bf16")
x = torch.randn(5, 64)
expected = uc.linear(x, packed)
child = os.fork()
if child == 0:
    os._exit(0 if torch.equal(uc.linear(x, packed), expected) else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert torch.equal(uc.linear(x, packed), expected)
print("fine")
"""
    done = run(script)
    assert done.stdout.strip() == "fine", done.stderr


def test_the_pool_follows_the_hardware():
    from unisono_cpu.hardware import NativeCpuHardware

    hardware, count = NativeCpuHardware(0), torch.get_num_threads()
    try:
        for wanted in (3, 1):
            hardware.use_threads(wanted)
            assert (uc.threads(), torch.get_num_threads()) == (wanted, wanted)
    finally:
        hardware.use_threads(count)


def test_a_step_leaves_torch_one_thread_and_gives_the_others_back():
    from unisono_cpu.hardware import NativeCpuHardware

    hardware, count = NativeCpuHardware(0), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with hardware.activate():
            assert torch.get_num_threads() == 2
        hardware.ops.prepare_linear(torch.ones(32, 32))
        with hardware.activate():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(count)
