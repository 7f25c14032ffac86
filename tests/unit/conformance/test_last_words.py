"""The report of a process that died: why and where, nothing of what libraries print beside."""

from __future__ import annotations

import io

import pytest

from unisono.conformance.processes.last_words import last_words

FRAMES = """
Fatal Python error: Aborted

Thread 0x00007f12 (most recent call first):
  File "/x/site-packages/torch/nn/functional.py", line 2400 in linear
  File "/x/unisono/conformance/processes/child.py", line 60 in _run

Extension modules: numpy._core, torch._C (total: 20)
"""
ADVICE = """
/x/torch/utils/__init__.py:12: UserWarning: an operator falls back to the CPU.
  warnings.warn("an operator falls back to the CPU")
[W1130 10:00:00 Module.cpp:12] Warning: expandable_segments not supported (function operator())
To suppress this warning, set TORCH_SHOW_CPP_STACKTRACES=0
For more information see https://pytorch.org/docs/stable/notes/extending.html
Please report a bug to PyTorch.
"""
THROWN = """terminate called after throwing an instance of 'std::runtime_error'
  what():  vkQueueSubmit: the device was lost
"""


@pytest.mark.parametrize(
    ("log", "words"),
    [
        (
            THROWN + ADVICE + FRAMES,
            "at functional.py:2400 (linear) (what():  vkQueueSubmit: the device was lost)",
        ),
        (ADVICE + FRAMES, "at functional.py:2400 (linear)"),
        (ADVICE, ""),
        ("", ""),
        (
            "driver: firmware 3 is not the one wanted\n" + ADVICE,
            "(driver: firmware 3 is not the one wanted)",
        ),
        ("ready\nerror: out of queues\nbye\n", "(error: out of queues)"),
        ("loaded a plugin\n" + FRAMES, "at functional.py:2400 (linear)"),
        ("RuntimeError: no\nframe #0: c10::Error (0x1 in libc10.so)\n", "(RuntimeError: no)"),
    ],
)
def test_reason_and_place(log: str, words: str) -> None:
    assert last_words(io.BytesIO(log.encode())) == words


def test_a_long_line_is_cut_and_bytes_are_no_trouble() -> None:
    said = last_words(io.BytesIO(b"\xff\xfe error: " + b"x" * 5000))
    assert len(said) < 250
