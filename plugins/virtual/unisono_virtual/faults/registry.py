"""The faults by name, and the decorator that adds one."""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import torch

from unisono.core.errors import ConfigError

VARIABLE = "UNISONO_VIRTUAL_FAULTS"
_FILES = ("products", "elementwise", "rows", "choosing", "results", "running", "runtime", "group")


@dataclass(frozen=True, slots=True)
class Fault:
    """``description`` says what a real chip did wrong that way."""

    name: str
    description: str
    plant: Callable[[], None]


_known: dict[str, Fault] = {}


def fault(function: Callable[[], None]) -> Callable[[], None]:
    """Add the function, called once on an open device, as a fault of its name."""
    name = function.__name__
    _known[name] = Fault(name, inspect.cleandoc(function.__doc__ or ""), function)
    return function


def planted_natively(name: str, description: str) -> None:
    """Add a fault that the compiled device has of that name."""
    _known[name] = Fault(name, description, lambda: torch.ops.unisono_virtual.plant(name))


@lru_cache(maxsize=1)
def _all_faults() -> Mapping[str, Fault]:
    for file in _FILES:
        importlib.import_module(f"unisono_virtual.faults.{file}")
    return dict(sorted(_known.items()))


FAULTS: Mapping[str, Fault]


def __getattr__(name: str) -> Mapping[str, Fault]:
    if name == "FAULTS":
        return _all_faults()
    raise AttributeError(name)


def from_environment() -> tuple[str, ...]:
    """Names that the environment asks for."""
    return tuple(filter(None, map(str.strip, os.environ.get(VARIABLE, "").split(","))))


def check(names: Iterable[str]) -> tuple[str, ...]:
    """The names, sorted, once each.

    Raises:
        ConfigError: one of them is no fault.
    """
    wanted = tuple(sorted(set(names)))
    for name in wanted:
        if name not in _all_faults():
            raise ConfigError(
                f"{name!r} is not a fault.", hint=f"There are: {', '.join(_all_faults())}."
            )
    return wanted


def plant(names: Iterable[str]) -> None:
    """Plant each; there is no way back in this process."""
    for name in check(names):
        _all_faults()[name].plant()
