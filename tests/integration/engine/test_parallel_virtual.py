"""Ranks on an out-of-tree device with a distributed backend of its own name."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests import checkpoints
from tests.engines import answers, engine
from tests.near_ties import are_the_same

PROMPTS = checkpoints.prompts(5, 17, 40)

PROGRAM = """
import json, sys
from pathlib import Path
from tests.engines import answers, engine
two = engine(Path(sys.argv[1]), device="virtual", tensor_parallel=2)
print(json.dumps([two.info.device, answers(two, json.loads(sys.argv[2]))]))
"""


def test_the_virtual_accelerator_in_two_parts(tmp_path: Path) -> None:
    """In a process of its own: the device changes the process that opens it."""
    folder = checkpoints.save(checkpoints.oracle("qwen3", head_dim=16), tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder), json.dumps(PROMPTS)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[3],
    )
    assert done.returncode == 0, done.stderr
    device, found = json.loads(done.stdout)
    assert device == "virtual:0"
    one = engine(folder)
    assert are_the_same(one, PROMPTS, found, answers(one, PROMPTS))
