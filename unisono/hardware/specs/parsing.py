"""A chip's TOML file -> ``ChipSpec``. Strict: a figure without source and grade does not get in."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NoReturn, TypeVar, cast

from unisono.core.errors import SpecError
from unisono.hardware.specs.figures import (
    GRADES,
    QUANTITIES,
    UNKNOWN_REASONS,
    ChipSpec,
    Direction,
    Evidence,
    Figure,
    Grade,
    Quantity,
    UnknownReason,
)

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["parse_spec"]

_T = TypeVar("_T")
_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_DATE = re.compile(r"20\d\d(-(0[1-9]|1[0-2])(-(0[1-9]|[12]\d|3[01]))?)?")
_LINK = "link_bandwidth"
_STATES = ("value", "unknown", "unsupported")


def parse_spec(text: str, file: str) -> ChipSpec:
    """The chip that ``text`` describes; ``file`` is the name of its file, for errors and the id.

    Raises:
        SpecError: not TOML, or a key is missing, unknown or wrong; names file and key.
    """
    try:
        table = _Table(file, "", tomllib.loads(text))
    except (ValueError, RecursionError) as error:
        raise SpecError(f"{file} is not TOML: {error}.") from error
    retrieved = table.date("retrieved")
    spec = ChipSpec(
        id=table.name("id"),
        name=table.text("name"),
        vendor=table.text("vendor"),
        aliases=table.names("aliases"),
        notes=table.texts("notes"),
        quantities=MappingProxyType(
            {name: _quantity(table.table(name), name, retrieved) for name in QUANTITIES}
        ),
    )
    table.close()
    if f"{spec.id}.toml" != file:
        raise SpecError(f"{file}, id: {spec.id!r:.60} is not the name of the file.")
    return spec


def _quantity(table: _Table, name: str, retrieved: str) -> Quantity:
    states = [key for key in _STATES if table.has(key)]
    if len(states) != 1:
        table.fail("", f"needs exactly one of {', '.join(_STATES)}")
    measured = tuple(_measured(entry, name, retrieved) for entry in table.tables("measured"))
    conflicts = tuple(_conflict(entry, name, retrieved) for entry in table.tables("conflicts"))
    nominal = unsupported = unknown = None
    note = ""
    if states == ["value"]:
        nominal = _figure(table, name, retrieved)
        if nominal.grade == "measured":
            table.fail("grade", "a measurement belongs under measured")
    elif states == ["unsupported"]:
        unsupported = _unsupported(table, name, retrieved)
    else:
        unknown = _unknown(table, conflicts)
        note = table.text("note", optional=True)
    table.close()
    return Quantity(
        name=name,
        nominal=nominal,
        unsupported=unsupported,
        unknown=unknown,
        note=note,
        measured=measured,
        conflicts=conflicts,
    )


def _unknown(table: _Table, conflicts: tuple[Figure, ...]) -> UnknownReason:
    reason = table.choice("unknown", UNKNOWN_REASONS)
    if reason == "sources contradict" and not conflicts:
        table.fail("unknown", "sources that contradict are listed under conflicts")
    return cast(UnknownReason, reason)


def _unsupported(table: _Table, name: str, retrieved: str) -> Evidence:
    if QUANTITIES[name].base_unit not in ("FLOP/s", "OP/s"):
        table.fail("unsupported", "is for arithmetic types alone")
    if not table.take("unsupported", bool):
        table.fail("unsupported", "can only be true")
    return Evidence(**_evidence(table, retrieved))


def _measured(table: _Table, name: str, retrieved: str) -> Figure:
    figure = _figure(table, name, retrieved, part=table.text("part", optional=True))
    if figure.grade != "measured":
        table.fail("grade", "has to be measured")
    table.close()
    return figure


def _conflict(table: _Table, name: str, retrieved: str) -> Figure:
    figure = _figure(table, name, retrieved)
    table.close()
    return figure


def _figure(table: _Table, name: str, retrieved: str, *, part: str = "") -> Figure:
    direction = table.choice("direction", ("both", "one way")) if name == _LINK else None
    return Figure(
        value=table.positive("value"),
        unit=table.choice("unit", QUANTITIES[name].units),
        direction=cast("Direction | None", direction),
        part=part,
        **_evidence(table, retrieved),
    )


def _evidence(table: _Table, retrieved: str) -> dict[str, Any]:
    return {
        "source": table.text("source"),
        "grade": cast(Grade, table.choice("grade", tuple(GRADES))),
        "retrieved": retrieved,
        "date": table.date("date") if table.has("date") else None,
        "note": table.text("note", optional=True),
    }


@dataclass(frozen=True, slots=True)
class _Table:
    """A TOML table whose keys are taken out one by one; what is left at the end is unknown."""

    file: str
    path: str
    left: dict[str, Any]

    def fail(self, key: str, problem: str) -> NoReturn:
        where = ".".join(part for part in (self.path, key) if part)
        raise SpecError(f"{self.file}, {where}: {problem}.")

    def has(self, key: str) -> bool:
        return key in self.left

    def take(self, key: str, kind: type[_T]) -> _T:
        if key not in self.left:
            self.fail(key, "is missing")
        value = self.left.pop(key)
        if not isinstance(value, kind):
            self.fail(key, f"is a {type(value).__name__}, not a {kind.__name__}")
        return value

    def text(self, key: str, *, optional: bool = False) -> str:
        if optional and key not in self.left:
            return ""
        value = self.take(key, str)
        if not value.strip():
            self.fail(key, "is empty")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        values = self.take(key, list)
        if not all(isinstance(value, str) and value.strip() for value in values):
            self.fail(key, "is not a list of texts")
        return tuple(values)

    def name(self, key: str) -> str:
        value = self.text(key)
        if not _ID.fullmatch(value):
            self.fail(key, f"{value!r:.60} is not in lower case with dashes")
        return value

    def names(self, key: str) -> tuple[str, ...]:
        values = self.texts(key)
        for value in values:
            if not _ID.fullmatch(value):
                self.fail(key, f"{value!r:.60} is not in lower case with dashes")
        return values

    def choice(self, key: str, choices: tuple[str, ...]) -> str:
        value = self.text(key)
        if value not in choices:
            self.fail(key, f"{value!r:.60} is not one of {', '.join(choices)}")
        return value

    def date(self, key: str) -> str:
        value = self.text(key)
        if not _DATE.fullmatch(value):
            self.fail(key, f"{value!r:.60} is not YYYY, YYYY-MM or YYYY-MM-DD")
        return value

    def positive(self, key: str) -> float:
        value = self.take(key, object)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self.fail(key, "is not a number")
        if not 0 < value <= sys.float_info.max:
            self.fail(key, "is not positive")
        return float(value)

    def table(self, key: str) -> _Table:
        return _Table(self.file, self._below(key), self.take(key, dict))

    def tables(self, key: str) -> list[_Table]:
        if key not in self.left:
            return []
        entries = self.take(key, list)
        if not all(isinstance(entry, dict) for entry in entries):
            self.fail(key, "is not a list of tables")
        return [
            _Table(self.file, f"{self._below(key)}[{index}]", entry)
            for index, entry in enumerate(entries)
        ]

    def close(self) -> None:
        for key in self.left:
            self.fail(key, "is not a known key")

    def _below(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key
