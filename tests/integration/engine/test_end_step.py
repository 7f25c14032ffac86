"""The hook of lazy devices: once a step, before anything is waited for or read."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import checkpoints
from tests.engines import answers, engine
from unisono.hardware import find_hardware


def test_each_step_ends_once_and_before_it_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = checkpoints.save(checkpoints.oracle("llama"), tmp_path)
    prompts = [[3, 5, 7, 11], [2] * 70]
    want = answers(engine(folder), prompts)
    calls: list[str] = []
    kind = type(find_hardware("cpu"))
    monkeypatch.setattr(kind, "end_step", lambda self: calls.append("end"))
    monkeypatch.setattr(kind, "synchronize", lambda self: calls.append("wait"))
    made = engine(folder)
    assert answers(made, prompts) == want
    assert calls == ["end", "wait"] * made.stats().steps
