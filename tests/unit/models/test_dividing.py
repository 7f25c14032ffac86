"""Sizes that ranks share, divided where a configuration marks them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import pytest

from unisono.core.errors import ConfigError
from unisono.models.dividing import Divides, divided, num_kv_pieces


@dataclass(frozen=True, kw_only=True, slots=True)
class Inner:
    width: Annotated[int, Divides("columns of something")] = 8
    height: int = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class Outer:
    heads: Annotated[int, Divides("heads")] = 12
    kv_heads: Annotated[int, Divides("key-value heads", by_kv_head=True)] = 4
    by_layer: Annotated[tuple[int, ...], Divides("columns")] = (4, 8)
    kv_by_layer: Annotated[tuple[int, ...], Divides("key-value heads", by_kv_head=True)] = (2, 2)
    inner: Inner | None = Inner()
    name: str = "plain"


@dataclass(frozen=True, kw_only=True, slots=True)
class Derived(Outer):
    more: Annotated[int, Divides("more")] = 4


def test_marked_sizes_divide_and_others_stay() -> None:
    part = divided(Derived(), 4)
    assert part == Derived(
        heads=3, kv_heads=1, by_layer=(1, 2), kv_by_layer=(1, 1), inner=Inner(width=2), more=1
    )
    assert divided(Outer(inner=None), 2).inner is None


@pytest.mark.parametrize(
    ("config", "num_ranks", "says"),
    [
        (Outer(), 8, r"12 heads do not divide among 8 ranks.*--tp 6"),
        (Outer(by_layer=(4, 7)), 2, "7 columns do not divide"),
        (Outer(inner=Inner(width=3)), 2, "3 columns of something"),
        (Outer(kv_heads=3), 2, "3 key-value heads neither divide among 2 ranks"),
        (Outer(kv_by_layer=(2, 4)), 4, "2 key-value heads do not divide"),
        (Derived(more=3), 2, "3 more do not divide"),
    ],
)
def test_what_does_not_divide(config: Outer, num_ranks: int, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        divided(config, num_ranks)


@pytest.mark.parametrize(
    ("num_heads", "num_ranks", "pieces"), [(8, 2, 2), (2, 2, 2), (2, 8, 2), (1, 4, 1)]
)
def test_key_value_heads_may_be_on_several_ranks(
    num_heads: int, num_ranks: int, pieces: int
) -> None:
    assert num_kv_pieces(num_heads, num_ranks) == pieces
