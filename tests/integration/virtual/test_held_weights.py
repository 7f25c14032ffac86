"""Every form of a weight reaches a device with memory of its own, with the values of the host."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def test_forms_have_the_same_values_there(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.virtual.held_weights", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[3],
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found) == 12
    assert {name: error for name, error in found.items() if error > 1e-5} == {}
