"""A server on the demo model, for benchmarks that attack one."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def demo_server(*arguments: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Its ``host:port`` and its process, which ends with the context."""
    process = subprocess.Popen(
        [sys.executable, "-m", "unisono", "serve", *arguments, "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    try:
        found = re.search(r"http://([^\s,]+)", process.stdout.readline())
        if not found:
            sys.exit("The server did not start.")
        yield found[1], process
    finally:
        process.terminate()
        process.wait()
