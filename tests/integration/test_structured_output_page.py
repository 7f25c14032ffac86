"""The page on structured output: what it shows runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "structured-output.md").read_text(encoding="utf-8")


def test_the_program_runs() -> None:
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in ("billing", "network", "other")


EXPECTED = (
    '"billing"|"network"|"other"',
    "billing|network|other",
    "[a-z]{3,12}",
    "yes|no",
)
"""Answers to the commands, as regular expressions."""


def test_the_commands_run() -> None:
    (block,) = re.findall(r"```bash\n(.*?)\n```", PAGE, re.DOTALL)
    commands = [line.removeprefix("unisono ") for line in block.splitlines()]
    for command, expected in zip(commands, EXPECTED, strict=True):
        shell = f"{sys.executable} -m unisono {command}"
        done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert re.fullmatch(expected, done.stdout.strip()), command
