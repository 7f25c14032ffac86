"""``unisono specs``: what is published about chips, by whom, and what contradicts it."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unisono.cli import completing
from unisono.cli.options import JsonOption

if TYPE_CHECKING:
    from unisono.hardware.specs.figures import ChipSpec, Evidence, Figure, Quantity

ChipArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="CHIP",
        help="Everything about one chip, such as h100 or ascend-910b. Without it: all chips.",
        autocompletion=completing.chips,
    ),
]


def specs(chip: ChipArgument = None, as_json: JsonOption = False) -> None:
    """List published figures of chips, each with its source and how far it can be trusted.

    Rates are dense, without sparsity. What is not known stays unknown. A measurement on your own
    card (`unisono bench`) always says more.

    \b
    Examples:
      unisono specs
      unisono specs h100
      unisono specs ascend-910b --json
    """
    from unisono.hardware.specs.ledger import find_spec, load_specs

    chosen = list(load_specs().values()) if chip is None else [find_spec(chip)]
    if as_json:
        found = [_as_json(spec) for spec in chosen]
        typer.echo(json.dumps(found if chip is None else found[0], indent=2))
    elif chip is None:
        _print_table(chosen)
    else:
        _print_chip(chosen[0])


# -- all chips --------------------------------------------------------------------------------

_COLUMNS = {
    "memory": "memory\n",
    "memory_bandwidth": "bandwidth\nGB/s",
    "bf16": "bf16\nTFLOPS",
    "int8": "int8\nTOPS",
    "fp8": "fp8\nTFLOPS",
    "link_bandwidth": "link\nGB/s",
    "board_power": "power\nW",
}
_LEGEND = (
    "Dense rates. Links in one direction. M: no published figure, so the best measured one."
    " -: unknown. no: not supported. *: other sources say otherwise; `unisono specs CHIP` shows"
    " all of it."
)


def _print_table(chosen: list[ChipSpec]) -> None:
    from unisono.cli.tables import new_console, new_table, print_line, print_table
    from unisono.hardware.specs.figures import GRADES

    table = new_table("chip", *_COLUMNS.values(), gap=1)
    for spec in chosen:
        cells = (spec.id, *(_cell(spec.quantities[name]) for name in _COLUMNS))
        table.add_row(*cells)
    console = new_console()
    print_table(console, table)
    console.print()
    grades = "; ".join(f"{info.letter} {info.meaning}" for info in GRADES.values())
    print_line(console, f"{grades}.", "dim")
    print_line(console, _LEGEND, "dim")


def _cell(quantity: Quantity) -> str:
    """``"989 V"``, ``"192 GB K*"``, ``"-"``: value, letter of the grade, mark of a conflict."""
    from unisono.hardware.specs.figures import GRADES

    mark = "*" if quantity.conflicts else ""
    figure = quantity.nominal or quantity.best_measured
    if quantity.unsupported is not None:
        return f"no {GRADES[quantity.unsupported.grade].letter}{mark}"
    if figure is None:
        return f"-{mark}"
    return f"{_short(figure)} {GRADES[figure.grade].letter}{mark}"


def _short(figure: Figure) -> str:
    if figure.unit == "MiB":
        return f"{figure.value / 1024:.4g} GiB"
    if figure.unit in ("GB", "GiB"):
        return f"{figure.value:.4g} {figure.unit}"
    return f"{figure.base / 1e9 if figure.direction else figure.value:.4g}"


# -- one chip ---------------------------------------------------------------------------------


def _print_chip(spec: ChipSpec) -> None:
    from unisono.cli.shown_text import middle_dot
    from unisono.cli.tables import new_console, new_table, print_line, print_table

    console = new_console()
    print_line(console, f"{spec.name}{middle_dot(sys.stdout)}{spec.vendor}", "bold")
    print_line(console, f"names: {', '.join((spec.id, *spec.aliases))}")
    for note in spec.notes:
        print_line(console, note)
    table = new_table("", "")
    table.show_header = False
    for quantity in spec.quantities.values():
        for label, lines in _details(quantity):
            table.add_row(label, "\n".join(line for line in lines if line))
    console.print()
    print_table(console, table)


def _details(quantity: Quantity) -> list[tuple[str, tuple[str, ...]]]:
    """Label and lines: what is published, then measurements, then what contradicts it."""
    from unisono.hardware.specs.figures import QUANTITIES

    lines: tuple[str, ...]
    rows: list[tuple[str, tuple[str, ...]]] = []
    if quantity.nominal is not None:
        lines = (_value(quantity.nominal), *_evidence(quantity.nominal))
    elif quantity.unsupported is not None:
        lines = ("not supported", *_evidence(quantity.unsupported))
    else:
        lines = (f"unknown: {quantity.unknown}", quantity.note)
    rows.append((QUANTITIES[quantity.name].label, lines))
    for label, figures in (("measured", quantity.measured), ("conflict", quantity.conflicts)):
        rows += [(f"  {label}", (_value(figure), *_evidence(figure))) for figure in figures]
    return rows


def _value(figure: Figure) -> str:
    directions = {"both": "both directions together", "one way": "one way"}
    where = directions[figure.direction] if figure.direction else figure.part
    return f"{figure.value:.10g} {figure.unit}" + (f", {where}" if where else "")


def _evidence(evidence: Evidence) -> tuple[str, str]:
    when = evidence.date or f"retrieved {evidence.retrieved}"
    return f"{evidence.grade}: {evidence.source} ({when})", evidence.note


# -- for programs -----------------------------------------------------------------------------


def _as_json(spec: ChipSpec) -> dict[str, Any]:
    return {
        "id": spec.id,
        "name": spec.name,
        "vendor": spec.vendor,
        "aliases": list(spec.aliases),
        "notes": list(spec.notes),
        "quantities": {name: _quantity_json(each) for name, each in spec.quantities.items()},
    }


def _quantity_json(quantity: Quantity) -> dict[str, Any]:
    from unisono.hardware.specs.figures import QUANTITIES

    return {
        "base_unit": QUANTITIES[quantity.name].base_unit,
        "nominal": _figure_json(quantity.nominal) if quantity.nominal else None,
        "unsupported": asdict(quantity.unsupported) if quantity.unsupported else None,
        "unknown": quantity.unknown,
        "note": quantity.note,
        "measured": [_figure_json(figure) for figure in quantity.measured],
        "conflicts": [_figure_json(figure) for figure in quantity.conflicts],
    }


def _figure_json(figure: Figure) -> dict[str, Any]:
    return {"value": figure.value, "unit": figure.unit, "base": figure.base, **asdict(figure)}
