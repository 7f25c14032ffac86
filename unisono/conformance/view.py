"""A run for people: a bar while it goes on, a line a check, and what failed in full."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from unisono.conformance.processes.supervising import Listener, Run
from unisono.conformance.results import Failure, Result

_STYLES = {
    "passed": "green",
    "refused": "yellow",
    "not applicable": "dim",
    "not run": "dim",
    "failed": "bold red",
    "error": "bold red",
    "hang": "bold red",
    "crashed": "bold red",
}


class CheckView(Listener):
    """Lines on standard output, the bar on standard error where that is a terminal.

    Args:
        scripts: folder for the reproductions; made when there is one to write.
    """

    def __init__(self, scripts: Path) -> None:
        self._scripts = scripts
        self._out = _console()
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._group = ""
        self._planned = 0
        self._width = 22

    def __enter__(self) -> CheckView:
        if sys.stderr.isatty():
            columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
            self._progress = Progress(*columns, console=Console(stderr=True), transient=True)
            self._task = self._progress.add_task("opening the device", total=None)
            self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def planned(self, checks: list[tuple[str, str]]) -> None:
        self._clear({"runtime.open", "runtime.between_checks", *(name for name, _ in checks)})
        self._planned = len(checks) + 1
        self._widen(checks)
        self._update(total=self._planned)

    def added(self, checks: list[tuple[str, str]]) -> None:
        self._clear({name for name, _ in checks})
        self._planned += len(checks)
        self._widen(checks)
        self._update(total=self._planned)

    def _widen(self, checks: list[tuple[str, str]]) -> None:
        """Room for the longest name, without its group."""
        lengths = [len(name.partition(".")[2]) for name, _ in checks]
        self._width = max([self._width, *lengths])

    def started(self, check: str) -> None:
        self._update(description=check)

    def _clear(self, checks: set[str]) -> None:
        """Remove what earlier runs of these checks left: what they showed may be mended."""
        for path in self._scripts.glob("*.*.*.py"):
            check, _, number = path.stem.rpartition(".")
            if check in checks and number.isdecimal() and path.is_file():
                path.unlink()

    def finished(self, result: Result) -> None:
        if result.outcome == "not run":
            return
        group, _, name = result.check.partition(".")
        if group != self._group:
            self._group = group
            self._out.print(Text(group, style="bold"))
        line = Text(f"  {name:<{self._width + 2}}")
        line.append(f"{result.outcome:<15}", style=_STYLES[result.outcome])
        line.append(f"{result.seconds:7.1f} s  ", style="dim")
        line.append(_remark(result))
        self._out.print(line)
        for number, failure in enumerate(result.failures, 1):
            self._show(result, failure, number)
        self._update(advance=1)

    def _show(self, result: Result, failure: Failure, number: int) -> None:
        words = ": ".join(part for part in (failure.case, failure.detail) if part)
        self._out.print(Text(f"      {words}"))
        if failure.culprit:
            self._out.print(Text(f"      first op that goes wrong: {failure.culprit}"))
        if failure.script:
            path = self._write(f"{result.check}.{number}.py", failure.script)
            self._out.print(Text(f"      reproduction: {path}", style="dim"), soft_wrap=True)

    def _write(self, name: str, script: str) -> Path:
        self._scripts.mkdir(parents=True, exist_ok=True)
        path = self._scripts / name
        path.write_text(script, encoding="utf-8")
        return path

    def _update(self, **changes: Any) -> None:
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, **changes)


def _remark(result: Result) -> str:
    if result.failures and not result.cases:
        return ""
    if result.failures:
        return f"{len(result.failures)} of the first {result.cases} cases fail"
    if result.figures:
        return ", ".join(
            f"{f.name} {f.value:.4g} {f.unit}{' (predicted)' if f.predicted else ''}"
            for f in result.figures
        )
    words = [f"{result.cases} case{'s' * (result.cases > 1)}"] if result.cases else []
    return "; ".join([*words, *([result.detail] if result.detail else [])])


def print_summary(run: Run) -> None:
    """The verdict, and what it was about."""
    out = _console()
    counts: dict[str, int] = {}
    for result in run.results:
        counts[result.outcome] = counts.get(result.outcome, 0) + 1
    about = run.about
    name = f"{about.get('device', run.options.device)} ({about.get('description', 'not opened')})"
    listed = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
    verdict = Text(run.verdict)
    verdict.stylize("bold green" if run.passed else "bold red")
    out.print(Text.assemble(f"\n{name}: ", verdict, f". {listed}; {run.seconds:.0f} s."))


def _console() -> Console:
    """Lines are wrapped at words where there is a width, and left whole in a pipe."""
    console = Console(highlight=False)
    console.soft_wrap = not (console.is_terminal or "COLUMNS" in os.environ)
    return console
