"""A decode step makes at most two copies to the device and one to the host, whatever the batch."""

from __future__ import annotations

import json
from pathlib import Path

from tests import checkpoints
from tests.engines import answers, engine
from tests.families import CASES
from tests.integration.virtual.children import run
from tests.near_ties import are_the_same

FAMILIES = ("qwen3", "gemma3", "llama4", "deepseek-v3.2", "qwen3_next")
"""One cache group; windows; chunks of the context; latents and selected keys; states."""
PROMPTS = checkpoints.prompts(5, 17, 40, 9)


def test_copies_of_a_decode_step(tmp_path: Path) -> None:
    """And what has travelled is right: answers are those of the host."""
    folders = []
    for name in FAMILIES:
        case = CASES[name]
        folder = tmp_path / name
        folder.mkdir()
        checkpoints.save(checkpoints.oracle(case.model_type, **case.options), folder)
        folders.append(str(folder))
    found = json.loads(run("step_copies.py", json.dumps(PROMPTS), *folders))
    assert set(found) == set(folders)
    for folder, (counts, answered) in found.items():
        for kind, (to_device, to_host) in counts.items():
            assert to_device <= (1 if kind.startswith("greedy") else 2), (folder, counts)
            assert to_host == 1, (folder, counts)
        one = engine(Path(folder))
        assert are_the_same(one, PROMPTS, answered, answers(one, PROMPTS)), folder
