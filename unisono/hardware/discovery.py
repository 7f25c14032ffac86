"""Finds hardware: what is known, what is here, and what a name means.

Knows no hardware by name: all come through the entry-point group ``unisono.hardware``. One that
breaks while it is loaded or asked is reported as absent, with the reason; the others go on. Where
unisono has one of its own of that name, that one runs, and the log says so once. Asking for one by
name touches no other: a vendor's package changes the process that imports it.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from packaging.utils import canonicalize_name

from unisono.core.errors import DeviceNotFoundError, UnisonoError
from unisono.hardware.base import DeviceReport, Hardware
from unisono.hardware.cards.status import Status, status_of
from unisono.hardware.ops.portable import OP_TABLE_VERSION

_log = logging.getLogger(__name__)
_GROUP = "unisono.hardware"
IGNORE = "UNISONO_IGNORE_PACKAGES"
"""Installed packages whose hardware is not used, with commas: is it the package's fault?"""


@dataclass(frozen=True, kw_only=True, slots=True)
class HardwareReport:
    """One kind of hardware; ``reason`` says why it is not present."""

    name: str
    present: bool
    reason: str = ""
    vendor: str = ""
    devices: tuple[DeviceReport, ...] = ()
    dtypes: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    status: Status = "unverified"
    module: str = ""


def discover() -> list[HardwareReport]:
    """Every known hardware, in the order in which it is asked."""
    classes, broken = load_hardware()
    reports = [
        HardwareReport(name=name, present=False, reason=why)
        for name, why in broken.items()
        if name not in classes
    ]
    return reports + [_report(cls) for cls in classes.values()]


def find_hardware(name: str = "auto") -> Hardware:
    """Open a device: ``auto`` (the first that is here), ``cpu``, ``npu:1``, ...

    Raises:
        DeviceNotFoundError: unknown or absent; the hint says where to look.
    """
    kind, _, which = name.partition(":")
    if name == "auto":
        return _first()
    entries = _entries()
    if kind in entries:
        cls, why = _load_any(entries[kind])
        if cls is None:
            raise DeviceNotFoundError(f"{kind!r} is not here: {why}.", hint=_hint())
        return _open(cls, which)
    near = get_close_matches(kind, entries, n=1)
    guess = f"Did you mean {near[0]}? " if near else ""
    raise DeviceNotFoundError(f"{name!r} is not a known device.", hint=guess + _hint())


def load_hardware() -> tuple[dict[str, type[Hardware]], dict[str, str]]:
    """Every hardware class by name, in the order in which it is asked; and the reason why a class
    cannot be loaded, by entry-point name. A name is in both where another class runs in place of
    the one that cannot. Imports no vendor's package."""
    classes: list[type[Hardware]] = []
    broken: dict[str, str] = {}
    for name, entries in _entries().items():
        cls, why = _load_any(entries)
        if why:
            broken[name] = why
        if cls is not None:
            classes.append(cls)
    classes.sort(key=lambda cls: (cls.facts.detection_order, cls.facts.name))
    return {cls.facts.name: cls for cls in classes}, broken


def _first() -> Hardware:
    for cls in load_hardware()[0].values():
        if _why_missing(cls) is None:
            try:
                return _open(cls, "")
            except DeviceNotFoundError as error:
                _log.warning("%s", error)
    raise DeviceNotFoundError("No device can be opened.", hint="See `unisono devices`.")


def _open(cls: type[Hardware], which: str) -> Hardware:
    name = cls.facts.name
    reason = _why_missing(cls)
    if reason is not None:
        raise DeviceNotFoundError(f"{name!r} is not here: {reason}.", hint=_hint())
    try:
        return cls.open(which)
    except DeviceNotFoundError as error:
        error.hint = error.hint or _hint()
        raise
    except UnisonoError:
        raise
    except Exception as error:
        raise DeviceNotFoundError(
            f"{name!r} cannot be opened ({type(error).__name__}: {error}).", hint=_hint()
        ) from error


def _hint() -> str:
    return f"Known: {', '.join(sorted(_entries()))}. See `unisono devices`."


def _entries() -> dict[str, list[EntryPoint]]:
    """By name, the entry to use and what runs where it breaks: another package's goes before
    unisono's own. That is how a package brings faster ops for a device that unisono knows."""
    found: dict[str, list[EntryPoint]] = {}
    ignored = {canonicalize_name(name) for name in os.environ.get(IGNORE, "").split(",") if name}
    for entry in entry_points(group=_GROUP):
        if entry.dist is not None and canonicalize_name(entry.dist.name) in ignored:
            continue
        found.setdefault(entry.name, []).append(entry)
    for name, entries in found.items():
        others = [entry for entry in entries if not _is_own(entry)]
        found[name] = others[:1] + [entry for entry in entries if _is_own(entry)][-1:]
    return found


def _is_own(entry: EntryPoint) -> bool:
    return entry.value.startswith("unisono.")


def _load_any(entries: list[EntryPoint]) -> tuple[type[Hardware] | None, str]:
    """The first class that can be had, and why one before it cannot."""
    reason = ""
    for entry in entries:
        loaded = _load(entry)
        if not isinstance(loaded, str):
            if reason:
                _say_once(
                    f"{entry.name} runs on plain torch, without {_brings(entries[0])}: {reason}"
                )
            return loaded, reason
        reason = reason or loaded
    return None, reason


@cache
def _say_once(line: str) -> None:
    _log.warning("%s", line)


def _load(entry: EntryPoint) -> type[Hardware] | str:
    """The class behind an entry point, or why it cannot be had."""
    try:
        found = entry.load()
        if not (
            isinstance(found, type) and issubclass(found, Hardware) and hasattr(found, "facts")
        ):
            raise TypeError(f"{found!r} is no Hardware class with facts")
    except UnisonoError as error:
        return str(error).removesuffix(".")
    except Exception as error:
        return f"its plugin cannot be loaded ({type(error).__name__}: {error})"
    return _why_unfit(entry, found) or found


def _why_unfit(entry: EntryPoint, cls: type[Hardware]) -> str | None:
    """Reason why a package's own ops cannot be called: they are written for another op table, or
    nobody knows for which."""
    op_table = cls.facts.op_table
    is_portable = cls.ops_class.__module__.startswith("unisono.")
    if op_table == OP_TABLE_VERSION or (op_table is None and is_portable):
        return None
    name = _brings(entry)
    if op_table is None:
        return (
            f"{name} has ops of its own and does not say for which op table, this unisono has"
            f" {OP_TABLE_VERSION}: its facts must state op_table; until then set {IGNORE}={name}"
        )
    return (
        f"{name} is for op table {op_table}, this unisono has {OP_TABLE_VERSION}:"
        f" install both of one release, or set {IGNORE}={name}"
    )


def _brings(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else entry.value


def _why_missing(cls: type[Hardware]) -> str | None:
    try:
        return cls.missing()
    except Exception as error:
        return f"asking for it failed ({type(error).__name__}: {error})"


def _report(cls: type[Hardware]) -> HardwareReport:
    facts = cls.facts
    reason = _why_missing(cls)
    devices: tuple[DeviceReport, ...] = ()
    if reason is None:
        try:
            devices = cls.survey()
        except Exception as error:
            reason = f"asking for it failed ({type(error).__name__}: {error})"
    return HardwareReport(
        name=facts.name,
        present=reason is None,
        reason=reason or "",
        vendor=facts.vendor,
        devices=devices,
        dtypes=facts.dtypes,
        features=tuple(sorted(facts.features)),
        status=status_of(facts.name),
        module=facts.import_module or "torch",
    )
