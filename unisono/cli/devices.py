"""``unisono devices``: which hardware is known, which of it is here, and what has been verified."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from unisono.cli.errors import clear_errors
from unisono.cli.options import JsonOption
from unisono.core.config import format_bytes

if TYPE_CHECKING:
    from unisono.hardware import DeviceReport, HardwareReport

__all__ = ["devices"]


def devices(as_json: JsonOption = False) -> None:
    """List the hardware that is here, its memory and dtypes, and what has been verified.

    "verified" means that the whole test kit ran on the real device; without it a device is
    expected to work through PyTorch.

    \b
    Examples:
      unisono devices
      unisono devices --json
    """
    with clear_errors():
        from unisono.hardware import discover

        reports = discover()
        if as_json:
            typer.echo(json.dumps([asdict(report) for report in reports], indent=2))
        else:
            _print_table(reports)


def _print_table(reports: list[HardwareReport]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("device", "here", "what", "memory free / total", "dtypes", "status"):
        table.add_column(column, overflow="fold")
    for report in sorted(reports, key=lambda report: not report.present):
        for cells in _rows(report):
            table.add_row(*(Text(cell, style="" if report.present else "dim") for cell in cells))
    Console(highlight=False).print(table)


def _rows(report: HardwareReport) -> list[tuple[str, ...]]:
    dtypes = ", ".join(report.dtypes)
    if not report.present:
        return [(report.name, "no", report.reason, "", dtypes, report.status)]
    return [
        (
            _device_name(report, device),
            "yes",
            device.description,
            _memory(device),
            dtypes,
            report.status,
        )
        for device in report.devices
    ]


def _device_name(report: HardwareReport, device: DeviceReport) -> str:
    return report.name if len(report.devices) == 1 else f"{report.name}:{device.index}"


def _memory(device: DeviceReport) -> str:
    return f"{format_bytes(device.free_memory)} / {format_bytes(device.total_memory)}"
