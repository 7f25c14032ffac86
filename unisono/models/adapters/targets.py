"""The modules that an adapter's configuration names, by PEFT's rules.

Regular expressions come from a file that may be hostile, so they are bounded: no repeated groups,
few repeats.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from unisono.core.errors import AdapterError

_ALL_LINEAR = "all-linear"
_LAYER = re.compile(r".*?\.[^.]*\.(\d+)\.")
_REPEATED_GROUP = re.compile(r"\)[*+{]")
_REPEAT = re.compile(r"[*+{]")
_MOST_REPEATS = 6
_MAX_PATTERN = 4096


def compiled(pattern: str, field: str) -> re.Pattern[str]:
    """Raises AdapterError: no regular expression, or one that may take for ever."""
    repeats = len(_REPEAT.findall(pattern))
    if len(pattern) > _MAX_PATTERN or repeats > _MOST_REPEATS or _REPEATED_GROUP.search(pattern):
        raise AdapterError(
            f"{field} has a pattern that could take for ever: {pattern[:80]!r}.",
            hint=f"It may have {_MOST_REPEATS} repeats, and no repeated group.",
        )
    try:
        return re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise AdapterError(f"{field} has {pattern[:80]!r}, no pattern: {error}.") from error


@dataclass(frozen=True, kw_only=True, slots=True)
class Targets:
    """Modules by their names in transformers."""

    named: tuple[str, ...] | re.Pattern[str] | None
    """Ends of names, or a pattern of whole ones; None: every linear layer."""
    excluded: tuple[str, ...] | re.Pattern[str] = ()
    layers: frozenset[int] | None = None
    """Indices of the layers, of those that ``named`` lists; None: all."""
    lists: tuple[re.Pattern[str], ...] = (_LAYER,)
    """Patterns that find the index."""

    @classmethod
    def read(cls, raw: dict[str, Any]) -> Targets:
        """Raises AdapterError: a field is wrong."""
        modules = raw.get("target_modules")
        if not modules:
            raise AdapterError("target_modules names no module.")
        takes_all = isinstance(modules, str) and modules.lower() == _ALL_LINEAR
        return cls(
            named=None if takes_all else _names(modules, "target_modules"),
            excluded=_names(raw.get("exclude_modules") or [], "exclude_modules"),
            layers=_layers(raw.get("layers_to_transform")),
            lists=_lists(raw.get("layers_pattern")),
        )

    def __contains__(self, module: str) -> bool:
        if _matches(self.excluded, module):
            return False
        if self.named is None:
            return True
        if not _matches(self.named, module):
            return False
        if isinstance(self.named, re.Pattern) or module in self.named or self.layers is None:
            return True
        found = next((m for m in (each.match(module) for each in self.lists) if m), None)
        return found is not None and int(found[1]) in self.layers


def _matches(names: tuple[str, ...] | re.Pattern[str], module: str) -> bool:
    if isinstance(names, re.Pattern):
        return names.fullmatch(module) is not None
    return any(module == name or module.endswith(f".{name}") for name in names)


def _names(value: Any, field: str) -> tuple[str, ...] | re.Pattern[str]:
    if isinstance(value, str):
        return compiled(value, field)
    return _texts(value, field)


def _texts(value: Any, field: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) and each for each in value):
        raise AdapterError(f"{field} must be a list of names, or a pattern.")
    return tuple(value)


def _layers(value: Any) -> frozenset[int] | None:
    listed = [value] if type(value) is int else value
    if listed is None or listed == []:
        return None
    if not isinstance(listed, list) or not all(type(each) is int for each in listed):
        raise AdapterError("layers_to_transform must be a list of whole numbers.")
    return frozenset(listed)


def _lists(value: Any) -> tuple[re.Pattern[str], ...]:
    if not value:
        return (_LAYER,)
    names = _texts([value] if isinstance(value, str) else value, "layers_pattern")
    return tuple(
        re.compile(rf"(?:^|.*?\.)(?:{compiled(name, 'layers_pattern').pattern})\.(\d+)\.")
        for name in names
    )
