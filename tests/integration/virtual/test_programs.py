"""Whole programs: training and a unisono model give what the CPU gives; memory is isolated."""

from __future__ import annotations

import json
import signal

import pytest

from tests.integration.virtual.children import finish, run, start
from tests.waiting import PATIENCE_S

GENERATE = """
import json, sys, torch
from unisono import LLM, SamplingParams
torch.set_num_threads(1)
llm = LLM(device=sys.argv[1], dtype="float32", kv_memory=64 << 20)
greedy = SamplingParams(max_tokens=12, temperature=0.0, ignore_eos=True)
drawn = SamplingParams(max_tokens=12, temperature=0.8, top_p=0.9, seed=3, ignore_eos=True)
prompts = ["The elevator is stuck between two floors.", "我想咨询一下套餐资费。"]
print(json.dumps([out.token_ids for p in (greedy, drawn) for out in llm.generate(prompts, p)]))
"""

TOUCH = """
import ctypes, torch, unisono_virtual
unisono_virtual.install()
x = torch.full((4,), 42, dtype=torch.uint8, device="virtual")
print(x.tolist(), flush=True)
print(ctypes.string_at(x.data_ptr(), 4))
"""

WRITE = TOUCH.replace("ctypes.string_at(x.data_ptr(), 4)", "ctypes.memset(x.data_ptr(), 0, 4)")


def test_training_is_equal_bit_by_bit() -> None:
    assert run("training_run.py", "virtual") == run("training_run.py", "cpu")


def test_the_demo_model_says_the_same() -> None:
    assert json.loads(run(GENERATE, "virtual:h200:1")) == json.loads(run(GENERATE, "cpu"))


@pytest.mark.parametrize("program", [TOUCH, WRITE])
def test_the_host_cannot_touch_device_memory(program: str) -> None:
    process = start(program)
    out, _ = process.communicate(timeout=PATIENCE_S)
    assert out.strip() == "[42, 42, 42, 42]"
    assert process.returncode == -signal.SIGSEGV


def test_a_fork_is_told_why_it_cannot() -> None:
    program = """
import os, torch, unisono_virtual
unisono_virtual.install()
if os.fork() == 0:
    try:
        torch.ones(1, device="virtual")
    except RuntimeError as error:
        print("fork of the process" in str(error), flush=True)
    os._exit(0)
os.wait()
"""
    assert finish(start(program)).strip() == "True"
