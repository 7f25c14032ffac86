"""Sizes that ranks share: marked where a configuration declares them, divided here.

``num_heads: Annotated[int, Divides("attention heads")]``; a tuple has one size a layer.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, TypeVar, get_type_hints

from unisono.core.errors import ConfigError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Divides:
    """A field that ranks share equally; ``what`` names it in errors."""

    what: str
    by_kv_head: bool = False
    """Heads of keys and values: of fewer than there are ranks, several ranks hold the same one.
    Layers that differ in their number must divide."""

    def part(self, sizes: Any, num_ranks: int) -> Any:
        """A rank's part of a size, or of each of a tuple."""
        if isinstance(sizes, tuple):
            one = Divides(self.what, self.by_kv_head and len(set(sizes)) == 1)
            return tuple(one.part(size, num_ranks) for size in sizes)
        if self.by_kv_head:
            return sizes // num_kv_pieces(sizes, num_ranks)
        if sizes % num_ranks:
            raise ConfigError(
                f"{sizes} {self.what} do not divide among {num_ranks} ranks.",
                hint=_fewer_ranks(sizes, num_ranks),
            )
        return sizes // num_ranks


def divided(config: T, num_ranks: int) -> T:
    """The configuration of a rank's part, and of what it is composed of.

    Raises:
        ConfigError: a size does not divide among so many ranks.
    """
    whole: Any = config
    hints = get_type_hints(type(whole), include_extras=True)
    parts: dict[str, Any] = {}
    for field in fields(whole):
        value = getattr(whole, field.name)
        for mark in getattr(hints[field.name], "__metadata__", ()):
            parts[field.name] = mark.part(value, num_ranks)
        if is_dataclass(value):
            parts[field.name] = divided(value, num_ranks)
    part: T = replace(whole, **parts)
    return part


def num_kv_pieces(num_kv_heads: int, num_ranks: int) -> int:
    """Different parts that the key-value heads fall into; a part may be on several ranks.

    Raises:
        ConfigError: neither divide among the others.
    """
    if num_kv_heads % num_ranks and num_ranks % num_kv_heads:
        raise ConfigError(
            f"{num_kv_heads} key-value heads neither divide among {num_ranks} ranks, nor the ranks "
            "among them.",
            hint=_fewer_ranks(num_kv_heads, num_ranks),
        )
    return min(num_kv_heads, num_ranks)


def _fewer_ranks(number: int, num_ranks: int) -> str:
    fewer = max(n for n in range(1, num_ranks) if number % n == 0)
    return f"--tp {fewer} is possible in this respect."
