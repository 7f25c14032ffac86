"""``unisono doctor``: whether what is installed fits together, and what to change."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from unisono.cli.options import JsonOption

if TYPE_CHECKING:
    from unisono.hardware.findings import Finding

_STYLES = {"ok": "green", "note": "cyan", "warning": "yellow", "problem": "red"}


def doctor(as_json: JsonOption = False) -> None:
    """Look at driver, torch, vendor plugins and unisono: do they fit, and what to change.

    Runs nothing on a device: `unisono check` does. Ends with status 1 if there is a problem.

    \b
    Examples:
      unisono doctor
      unisono doctor --json
    """
    findings = _examine(show_progress=not as_json)
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        _print(findings)
    if any(finding.level == "problem" for finding in findings):
        raise typer.Exit(1)


def _examine(*, show_progress: bool) -> list[Finding]:
    if not show_progress:
        return _ask(lambda _: None)
    from rich.console import Console

    with Console(stderr=True).status("") as status:
        return _ask(status.update)


def _ask(say: Callable[[str], None]) -> list[Finding]:
    from unisono.hardware import torch_import

    say("importing torch in a process of its own ...")
    imported = torch_import.probe()
    if imported.level == "problem":
        if torch_import.autoloaded():
            os.environ[torch_import.AUTOLOAD] = "0"
        else:
            return [imported]
    say("asking every hardware ...")
    from unisono.hardware.doctor import examine

    return [imported, *examine()]


def _print(findings: list[Finding]) -> None:
    from rich.text import Text

    from unisono.cli.tables import new_console, new_table, print_table

    table = new_table("", "about", "what", "what to do")
    for finding in findings:
        level = Text(finding.level, style=_STYLES[finding.level])
        table.add_row(level, finding.subject, finding.what, finding.advice)
    console = new_console()
    print_table(console, table)
    count = sum(finding.level == "problem" for finding in findings)
    console.print(f"\n{count} problem{'s' if count != 1 else ''}." if count else "\nNo problem.")
