"""A decode step makes at most two copies to the device and one to the host, whatever the batch."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tests import checkpoints
from tests.families import CASES
from tests.integration.virtual.children import run

ROOT = Path(__file__).parents[3]
FAMILIES = ("qwen3", "gemma3")
"""One cache group, and several with windows."""


def test_copies_of_a_decode_step(tmp_path: Path) -> None:
    folders = []
    for name in FAMILIES:
        case = CASES[name]
        folder = tmp_path / name
        folder.mkdir()
        checkpoints.save(checkpoints.oracle(case.model_type, **case.options), folder)
        folders.append(str(folder))
    path = os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", "")))
    found = json.loads(run("step_copies.py", *folders, PYTHONPATH=path))
    assert set(found) == set(folders)
    for counts in found.values():
        for kind, (to_device, to_host) in counts.items():
            assert to_device <= (1 if kind.startswith("greedy") else 2), counts
            assert to_host == 1, counts
