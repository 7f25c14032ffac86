"""``unisono devices``: which hardware is known, which of it is here, and what has been verified."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from unisono.cli.options import JsonOption
from unisono.core.config import format_bytes

if TYPE_CHECKING:
    from rich.table import Table

    from unisono.hardware.base import DeviceReport
    from unisono.hardware.discovery import HardwareReport


def devices(as_json: JsonOption = False) -> None:
    """List every hardware unisono knows: what is here, and why the rest is not.

    "verified" means that a capability card, written by `unisono check` on the real chip, lies in
    unisono; without one a device is expected to work through PyTorch. `unisono check DEVICE` tests
    the one you have, `unisono doctor` says what to install or change.

    \b
    Examples:
      unisono devices
      unisono devices --json
    """
    from unisono.hardware.discovery import discover

    reports = discover()
    if as_json:
        typer.echo(json.dumps([asdict(report) for report in reports], indent=2))
    else:
        _print_tables(reports)


def _print_tables(reports: list[HardwareReport]) -> None:
    from unisono.cli.tables import new_console, print_table

    console = new_console()
    print_table(console, _present_table([report for report in reports if report.present]))
    absent = [report for report in reports if not report.present]
    if absent:
        console.print()
        print_table(console, _absent_table(absent), style="dim")


def _present_table(reports: list[HardwareReport]) -> Table:
    from unisono.cli.tables import new_table

    table = new_table("device", "what", "memory free / total", "dtypes", "features", "status")
    for report in reports:
        for device in report.devices:
            table.add_row(
                _device_name(report, device),
                device.description,
                _memory(device),
                ", ".join(report.dtypes),
                ", ".join(report.features) or "-",
                report.status,
            )
    return table


def _absent_table(reports: list[HardwareReport]) -> Table:
    from unisono.cli.tables import new_table

    table = new_table("not here", "vendor", "why", "status")
    for report in reports:
        table.add_row(report.name, report.vendor, report.reason, report.status)
    return table


def _device_name(report: HardwareReport, device: DeviceReport) -> str:
    return report.name if len(report.devices) == 1 else f"{report.name}:{device.index}"


def _memory(device: DeviceReport) -> str:
    return f"{format_bytes(device.free_memory)} / {format_bytes(device.total_memory)}"
