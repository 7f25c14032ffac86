"""``unisono check``: is this chip, with this driver and this torch, fit to run models?"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unisono.cli import completing
from unisono.cli.options import ThreadsOption

if TYPE_CHECKING:
    from unisono.conformance.processes.supervising import Run


def check(
    device: Annotated[
        str,
        typer.Argument(
            metavar="DEVICE",
            help="As `unisono devices` lists it; or package.module:Class, while it is developed.",
            autocompletion=completing.devices,
        ),
    ] = "auto",
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer shapes: a minute, not ten.")
    ] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="A group or a check, such as ops or ops.linear; may be repeated.",
            autocompletion=completing.checks,
        ),
    ] = None,
    show_list: Annotated[bool, typer.Option("--list", help="List the checks and exit.")] = False,
    timeout: Annotated[
        float,
        typer.Option(
            min=0,
            help="Most seconds of processor time for each check. 0 keeps each check's own limit:"
            " 60 with --quick, 240 without, or more where it needs more.",
        ),
    ] = 0.0,
    threads: ThreadsOption = None,
    card: Annotated[
        Path | None, typer.Option("--json", help="Write the capability card to this file.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write a page of Markdown to this file.")
    ] = None,
    scripts: Annotated[
        Path, typer.Option(help="Folder for the reproductions of what fails.")
    ] = Path("unisono-check"),
) -> None:
    """Check that a device is fit to run models: runtime, every op, a model, training, collectives.

    Results are compared with float64 on the host, within bounds that follow from the dtype and
    the length of each sum. Each failure comes with a program of a few lines that shows it. Exit
    code 0 means that nothing failed.

    \b
    Examples:
      unisono check --quick
      unisono check cpu --json card.json --report report.md
      unisono check --only ops.attention
    """
    from unisono.conformance.processes.supervising import Options, check_device
    from unisono.conformance.view import CheckView, print_summary

    if show_list:
        _print_checks()
        return
    for path in (card, report):
        _make_writable(path)
    options = Options(
        device=device, quick=quick, only=tuple(only or ()), timeout=timeout, threads=threads
    )
    with CheckView(scripts) as view:
        run = check_device(options, view)
    print_summary(run)
    _write(run, card, report)
    sys.stdout.flush()
    if not run.passed:
        raise typer.Exit(1)


def _print_checks() -> None:
    """Names and purposes of all checks."""
    from unisono.cli.tables import new_console, new_table, print_table
    from unisono.conformance.registry import all_checks

    table = new_table("check", "what for")
    for one in all_checks():
        table.add_row(one.name, one.purpose)
    print_table(new_console(), table)


def _make_writable(path: Path | None) -> None:
    """Before the first check rather than behind the last: the folder, and a try.

    Raises:
        ConfigError: nothing can be written there.
    """
    from unisono.core.errors import ConfigError

    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not path.exists()
        path.open("a", encoding="utf-8").close()
        if is_new:
            path.unlink()
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written ({error.strerror or error}).",
            hint="Give --json and --report a file in a folder that you may write to.",
        ) from None


def _write(run: Run, card: Path | None, report: Path | None) -> None:
    from unisono.conformance.card import make_card
    from unisono.conformance.report import render_report

    if card is not None:
        card.write_text(json.dumps(make_card(run), indent=1) + "\n", encoding="utf-8")
    if report is not None:
        report.write_text(render_report(run), encoding="utf-8")
