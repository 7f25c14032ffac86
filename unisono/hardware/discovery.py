"""Which hardware is known, which of it is here, and which one a name means.

Knows no hardware by name: all come through the entry-point group ``unisono.hardware``. One that
breaks while it is loaded or asked is reported as absent, with the reason; the others go on.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from importlib.metadata import entry_points

from unisono.core.errors import DeviceNotFoundError, UnisonoError
from unisono.hardware.base import Hardware, Status

__all__ = ["DeviceReport", "HardwareReport", "discover", "find_hardware"]

_log = logging.getLogger(__name__)
_GROUP = "unisono.hardware"


@dataclass(frozen=True, slots=True)
class DeviceReport:
    """One device; memory in bytes."""

    index: int
    description: str
    total_memory: int
    free_memory: int


@dataclass(frozen=True, kw_only=True, slots=True)
class HardwareReport:
    """One kind of hardware; ``reason`` says why it is not present."""

    name: str
    present: bool
    reason: str = ""
    devices: tuple[DeviceReport, ...] = ()
    dtypes: tuple[str, ...] = ()
    status: Status = "unverified"
    module: str = ""


def discover() -> list[HardwareReport]:
    """Every known hardware, in the order in which it is asked."""
    found: list[tuple[int, HardwareReport]] = []
    for name, loaded in _load_all().items():
        if isinstance(loaded, str):
            found.append((0, HardwareReport(name=name, present=False, reason=loaded)))
        else:
            found.append((loaded.facts.detection_order, _report(loaded)))
    return [report for _, report in sorted(found, key=lambda pair: (pair[0], pair[1].name))]


def find_hardware(name: str = "auto") -> Hardware:
    """Open a device: ``auto`` (the first that is here), ``cpu``, ``npu:1``, ...

    Raises:
        DeviceNotFoundError: unknown or absent; the hint lists those found.
    """
    kind, _, index = name.partition(":")
    if index and not index.isdecimal():
        raise DeviceNotFoundError(f"{name!r} is not a device.", hint=_hint())
    present = _present()
    if kind == "auto" and not index:
        return _first(present)
    if kind in present:
        return _open(present[kind], int(index or 0))
    reasons = {report.name: report.reason for report in discover()}
    detail = f"is not here: {reasons[kind]}" if kind in reasons else "is not a known device"
    raise DeviceNotFoundError(f"{kind!r} {detail}.", hint=_hint())


def _first(present: dict[str, type[Hardware]]) -> Hardware:
    for cls in present.values():
        try:
            return _open(cls, 0)
        except DeviceNotFoundError as error:
            _log.warning("%s", error)
    raise DeviceNotFoundError("No device can be opened.", hint="See `unisono devices`.")


def _open(cls: type[Hardware], index: int) -> Hardware:
    try:
        return cls(index)
    except UnisonoError:
        raise
    except Exception as error:
        raise DeviceNotFoundError(
            f"{cls.facts.name!r} cannot be opened ({type(error).__name__}: {error})."
        ) from error


def _hint() -> str:
    return f"Found on this machine: {', '.join(_present())}. See `unisono devices`."


def _present() -> dict[str, type[Hardware]]:
    loaded = [cls for cls in _load_all().values() if not isinstance(cls, str)]
    loaded.sort(key=lambda cls: (cls.facts.detection_order, cls.facts.name))
    return {cls.facts.name: cls for cls in loaded if _why_missing(cls) is None}


def _load_all() -> dict[str, type[Hardware] | str]:
    """Entry-point name -> hardware class, or why it cannot be loaded."""
    loaded: dict[str, type[Hardware] | str] = {}
    for entry in entry_points(group=_GROUP):
        try:
            loaded[entry.name] = _checked(entry.load())
        except Exception as error:
            loaded[entry.name] = f"its plugin cannot be loaded ({type(error).__name__}: {error})"
    return loaded


def _checked(found: object) -> type[Hardware]:
    if isinstance(found, type) and issubclass(found, Hardware) and hasattr(found, "facts"):
        return found
    raise TypeError(f"{found!r} is no Hardware class with facts")


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
            devices = tuple(_device(cls, index) for index in range(cls.count()))
        except Exception as error:
            reason = f"asking for it failed ({type(error).__name__}: {error})"
    return HardwareReport(
        name=facts.name,
        present=reason is None,
        reason=reason or "",
        devices=devices,
        dtypes=facts.dtypes,
        status=facts.status,
        module=facts.import_module or "torch",
    )


def _device(cls: type[Hardware], index: int) -> DeviceReport:
    memory = cls(index).memory()
    return DeviceReport(index, cls.describe(index), memory.total, memory.free)
