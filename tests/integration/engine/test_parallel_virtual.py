"""Ranks on an out-of-tree device with a distributed backend of its own name."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests import checkpoints
from tests.engines import answers, engine
from tests.families import CASES
from tests.near_ties import are_the_same

PROMPTS = checkpoints.prompts(5, 17, 40)

PROGRAM = """
import json, sys
from pathlib import Path
from tests.drafting import with_oracle
from tests.engines import answers, engine
two = engine(Path(sys.argv[1]), device="virtual", tensor_parallel=2)
recurrent = engine(Path(sys.argv[2]), device="virtual")
prompts, found = json.loads(sys.argv[3]), []
for one in (two, recurrent):
    plain = answers(one, prompts)
    with_oracle(one, {str(i): answer for i, answer in enumerate(plain)})
    found += [plain, answers(one, prompts)]
    assert one.stats().accepted_tokens and one.stats().rejected_tokens
print(json.dumps([two.info.device, *found]))
"""


def test_the_virtual_accelerator_in_two_parts(tmp_path: Path) -> None:
    """In a process of its own: the device changes the process that opens it. With drafts, too; and
    drafts of a recurrent model there."""
    folder = checkpoints.save(checkpoints.oracle("qwen3", head_dim=16), tmp_path / "qwen3")
    case = CASES["qwen3_next-dense"]
    recurrent = checkpoints.save(
        checkpoints.oracle(case.model_type, **case.options), tmp_path / "recurrent"
    )
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder), str(recurrent), json.dumps(PROMPTS)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[3],
    )
    assert done.returncode == 0, done.stderr
    device, *found = json.loads(done.stdout)
    assert device == "virtual:0"
    for i, one in enumerate((engine(folder), engine(recurrent))):
        expected = answers(one, PROMPTS)
        assert are_the_same(one, PROMPTS, found[2 * i], expected)
        assert are_the_same(one, PROMPTS, found[2 * i + 1], expected)
