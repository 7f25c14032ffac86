"""Scripts in processes of their own: a process has room for one such device."""

from __future__ import annotations

import ast
import io
import os
import runpy
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

from tests.forked import Forked
from tests.waiting import PATIENCE_S

FOLDER = Path(__file__).parent
NO_COMPILER = {"CXX": "/no/such/compiler"}


def decorated(script: str, *decorators: str) -> list[str]:
    """Names of the functions in a script that carry one of the decorators, without running it."""
    tree = ast.parse((FOLDER / script).read_text("utf-8"))
    return [
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
        and any(isinstance(d, ast.Name) and d.id in decorators for d in node.decorator_list)
    ]


def start(script: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """A script of this folder, or Python given as text."""
    given = [str(FOLDER / script)] if script.endswith(".py") else ["-c", script]
    return subprocess.Popen(
        [sys.executable, *given, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )


def finish(process: subprocess.Popen[str]) -> str:
    """Standard output of the child."""
    out, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, errors[-3000:]
    return out


def run(script: str, *arguments: str, **environment: str) -> str:
    """Standard output of such a script; its process begins with torch imported."""
    return str(Forked(_printed, script, arguments, environment).result())


def _printed(script: str, arguments: tuple[str, ...], environment: dict[str, str]) -> str:
    os.environ.update({"OMP_NUM_THREADS": "1", **environment})
    sys.argv = [script, *arguments]
    with redirect_stdout(io.StringIO()) as out:
        if script.endswith(".py"):
            runpy.run_path(str(FOLDER / script), run_name="__main__")
        else:
            exec(script, {"__name__": "__main__"})
    return out.getvalue()
