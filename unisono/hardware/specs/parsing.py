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
    Quantity,
)

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_T = TypeVar("_T")
_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_DATE = re.compile(r"20\d\d(-(0[1-9]|1[0-2])(-(0[1-9]|[12]\d|3[01]))?)?")
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
            {name: _Reader(name, retrieved).quantity(table.table(name)) for name in QUANTITIES}
        ),
    )
    table.close()
    if f"{spec.id}.toml" != file:
        raise SpecError(f"{file}, id: {spec.id!r:.60} is not the name of the file.")
    return spec


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads one quantity of a chip; ``retrieved`` is when the chip's sources were read."""

    name: str
    retrieved: str

    def quantity(self, table: _Table) -> Quantity:
        states = [key for key in _STATES if table.has(key)]
        if len(states) != 1:
            table.fail("", f"needs exactly one of {', '.join(_STATES)}")
        found: dict[str, Any] = {
            "measured": tuple(map(self._measured, table.tables("measured"))),
            "conflicts": tuple(map(self._listed, table.tables("conflicts"))),
        }
        if states == ["value"]:
            nominal = found["nominal"] = self._figure(table)
            if nominal.grade == "measured":
                table.fail("grade", "a measurement belongs under measured")
        elif states == ["unsupported"]:
            found["unsupported"] = self._unsupported(table)
        else:
            reason = found["unknown"] = table.choice("unknown", UNKNOWN_REASONS)
            if reason == "sources contradict" and not found["conflicts"]:
                table.fail("unknown", "sources that contradict are listed under conflicts")
            found["note"] = table.text("note", optional=True)
        table.close()
        return Quantity(name=self.name, **found)

    def _unsupported(self, table: _Table) -> Evidence:
        if QUANTITIES[self.name].base_unit not in ("FLOP/s", "OP/s"):
            table.fail("unsupported", "is for arithmetic types alone")
        if not table.take("unsupported", bool):
            table.fail("unsupported", "can only be true")
        return Evidence(**self._evidence(table))

    def _measured(self, table: _Table) -> Figure:
        figure = self._listed(table, part=table.text("part", optional=True))
        if figure.grade != "measured":
            table.fail("grade", "has to be measured")
        return figure

    def _listed(self, table: _Table, *, part: str = "") -> Figure:
        figure = self._figure(table, part=part)
        table.close()
        return figure

    def _figure(self, table: _Table, *, part: str = "") -> Figure:
        is_link = self.name == "link_bandwidth"
        direction = table.choice("direction", ("both", "one way")) if is_link else None
        return Figure(
            value=table.positive("value"),
            unit=table.choice("unit", QUANTITIES[self.name].units),
            direction=cast("Direction | None", direction),
            part=part,
            **self._evidence(table),
        )

    def _evidence(self, table: _Table) -> dict[str, Any]:
        return {
            "source": table.text("source"),
            "grade": table.choice("grade", tuple(GRADES)),
            "retrieved": self.retrieved,
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
        return self._checked(key, self.text(key), _ID, "in lower case with dashes")

    def names(self, key: str) -> tuple[str, ...]:
        checked = (self._checked(key, v, _ID, "in lower case with dashes") for v in self.texts(key))
        return tuple(checked)

    def choice(self, key: str, choices: tuple[str, ...]) -> str:
        value = self.text(key)
        if value not in choices:
            self.fail(key, f"{value!r:.60} is not one of {', '.join(choices)}")
        return value

    def date(self, key: str) -> str:
        return self._checked(key, self.text(key), _DATE, "YYYY, YYYY-MM or YYYY-MM-DD")

    def _checked(self, key: str, value: str, form: re.Pattern[str], in_words: str) -> str:
        if not form.fullmatch(value):
            self.fail(key, f"{value!r:.60} is not {in_words}")
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
