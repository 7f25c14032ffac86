"""The reproduction of what no op of torch alone shows: the check itself, once more."""

from __future__ import annotations

from collections.abc import Mapping


def rerun_script(
    device: str, *, check: str, case: str, quick: bool, environment: Mapping[str, str]
) -> str:
    """A program that runs one check as it was run; without ``check``, all of them.

    Args:
        device: as the user wrote it.
        environment: what chose the form of the kernels.
    """
    title = ", ".join(word for word in (check or "The whole check", case) if word)
    words = [repr(device), *(['"--only"', repr(check)] if check else [])]
    words += ['"--quick"'] if quick else []
    chosen = "".join(f", {name!r}: {value!r}" for name, value in environment.items())
    return f"""# {" ".join(title.split())}
# No op of torch alone shows this: it needs unisono.
import os
import subprocess
import sys
import tempfile

with tempfile.TemporaryDirectory() as folder:
    command = [sys.executable, "-m", "unisono", "check", "--scripts", folder]
    command += [{", ".join(words)}]
    sys.exit(subprocess.call(command, env={{**os.environ{chosen}}}))
"""
