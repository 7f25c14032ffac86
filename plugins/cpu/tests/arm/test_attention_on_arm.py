"""Attention and cache on ARM, against the reference ops: the same bits, however it is divided."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import unisono_cpu as uc
from emulated import ATTENTION, DTYPES, KV_WRITE, Arm, Call, on, some
from torch import Tensor

from unisono.hardware import AttentionStep, PortableOps

REFERENCE = PortableOps()
SHAPES = [  # head size, kv heads, query heads of each, block size
    (64, 2, 4, 16),
    (80, 2, 3, 32),
    (16, 1, 1, 8),
    (128, 2, 2, 32),
    (40, 1, 5, 4),
    (256, 1, 2, 64),
]
ROWS = [  # queries and context of each row
    [(1, 200), (1, 65), (1, 64), (5, 5)],
    [(33, 100), (1, 64)],
    [(1, 1)],
    [(70, 70)],
    [(2, 1100)],
]
OPTIONS: list[dict[str, Any]] = [
    {},
    {"sinks": True, "window": 7},
    {"softcap": 5.0},
    {"window": 50},
    {"window": 1},
]


@dataclass(frozen=True)
class Rows:
    """Rows over a cache of scattered blocks."""

    query: Tensor
    kv: Tensor
    lens: list[int]
    contexts: list[int]
    tables: list[list[int]]
    window: int | None
    options: dict[str, Any]

    @classmethod
    def random(
        cls, shape: tuple[int, ...], rows: list[tuple[int, int]], dtype: torch.dtype, **given: Any
    ) -> Rows:
        size, heads, group, block_size = shape
        lens, contexts = [n for n, _ in rows], [c for _, c in rows]
        counts = [-(-context // block_size) for context in contexts]
        free = list(range(sum(counts) + 3))
        random.Random(0).shuffle(free)
        tables = [[free.pop() for _ in range(count)] for count in counts]
        kv = torch.randn(2, sum(counts) + 3, block_size, heads, size).to(dtype)
        query = torch.randn(sum(lens), heads * group, size).to(dtype)
        options = {
            "softcap": given.get("softcap"),
            "sinks": torch.randn(heads * group) if given.get("sinks") else None,
        }
        return cls(query, kv, lens, contexts, tables, given.get("window"), options)

    @property
    def scale(self) -> float:
        return float(self.query.shape[2] ** -0.5)

    def expected(self) -> Tensor:
        step = AttentionStep(
            query_lens=self.lens, context_lens=self.contexts, block_tables=self.tables,
            slots=torch.zeros(sum(self.lens), dtype=torch.int64), block_size=self.kv.shape[2],
            window=self.window,
        )  # fmt: skip
        step.plan = REFERENCE.plan_attention(step, self.kv)
        query, kv = self.query.float(), self.kv.float()
        return REFERENCE.attention(query, kv, step, scale=self.scale, **self.options)

    def here(self) -> Tensor:
        step = uc.PagedStep(self.lens, self.contexts, self.tables, None, self.window)
        return uc.attention(self.query, self.kv, step, scale=self.scale, **self.options)

    def call(self, holds: Callable[..., bool]) -> Call:
        _, blocks, block_size, heads, size = self.kv.shape
        starts = torch.tensor([0, *map(len, self.tables)]).cumsum(0)
        lists = (self.lens, self.contexts, [block for table in self.tables for block in table])
        return Call(
            ATTENTION,
            (len(self.lens), len(self.query), self.query.shape[1], blocks, DTYPES[self.kv.dtype],
             block_size, heads, size, self.window or 0),
            (self.scale, self.options["softcap"] or 0.0),
            (*(torch.tensor(each, dtype=torch.int32) for each in lists), starts, self.kv,
             self.query, self.options["sinks"]),
            (on("portable", self.here),),
            holds,
        )  # fmt: skip

    def near(self) -> Callable[[Tensor], bool]:
        """A check: as near to the reference as on this processor: bfloat16 is rounded twice."""
        expected, least = self.expected(), 1e-5 if self.kv.dtype == torch.float32 else 6e-3
        return lambda out: bool((out.float() - expected).norm() < least * expected.norm())


def test_attention(arm: Arm, tmp_path: Path) -> None:
    cases = [(shape, rows, options) for shape in SHAPES for rows in ROWS for options in OPTIONS]
    calls = []
    for shape, each, options in some(cases, 7):
        for dtype in DTYPES:
            rows = Rows.random(shape, each, dtype, **options)
            calls.append(rows.call(rows.near()))
    arm.check(calls, tmp_path)


def pieces(whole: Rows, cuts: list[tuple[int, int]]) -> Iterator[Call]:
    """The whole, then stretches of it, whose bits have to be the same."""
    near, seen = whole.near(), []

    def is_near(out: Tensor) -> bool:
        seen[:] = [out]
        return near(out)

    def is_part(first: int, end: int, out: Tensor) -> bool:
        return torch.equal(out, seen[0][first:end])

    yield whole.call(is_near)
    for first, end in cuts:
        part = Rows(whole.query[first:end], whole.kv, [end - first], [end], whole.tables,
                    whole.window, whole.options)  # fmt: skip
        yield part.call(partial(is_part, first, end))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_query_depends_on_its_context_alone(dtype: torch.dtype, arm: Arm, tmp_path: Path) -> None:
    cuts = [(0, 1), (60, 65), (63, 64), (64, 65), (100, 131), (149, 150)]
    calls: list[Call] = []
    for shape in some([(64, 2, 1, 16), (80, 2, 3, 16), (96, 1, 8, 16), (128, 2, 2, 16)], 3):
        for options in some(({}, {"softcap": 3.0}, {"window": 40, "sinks": True}), 2):
            calls += pieces(Rows.random(shape, [(150, 150)], dtype, **options), cuts)
    arm.check(calls, tmp_path)


def test_a_long_context_is_divided_at_fixed_positions(arm: Arm, tmp_path: Path) -> None:
    whole = Rows.random((32, 1, 1, 16), [(1100, 1100)], torch.bfloat16, sinks=True)
    arm.check(list(pieces(whole, [(1022, 1023), (1023, 1024), (1016, 1025)])), tmp_path)


def test_nan_stays_in_its_row(arm: Arm, tmp_path: Path) -> None:
    rows = Rows.random((64, 2, 2, 16), [(1, 100), (1, 1100), (30, 90)], torch.bfloat16)
    rows.kv[0, rows.tables[1][3]] = float("nan")

    def holds(out: Tensor) -> bool:
        others = torch.cat((out[:1], out[2:]))
        return bool(out[1].isnan().all() and others.isfinite().all())

    arm.check([rows.call(holds)], tmp_path)


@pytest.mark.parametrize("dtype", DTYPES)
def test_kv_write(dtype: torch.dtype, arm: Arm, tmp_path: Path) -> None:
    kv, slots = torch.randn(2, 4, 16, 3, 24).to(dtype), torch.randperm(64)[:40]
    key, value = torch.randn(2, 40, 3, 24).to(dtype)
    expected = kv.clone()
    REFERENCE.kv_write(expected, key, value, slots)
    numbers = (0, 40, 0, 4, DTYPES[dtype], 16, 3, 24)
    call = Call(KV_WRITE, numbers, (), (kv, key, value, slots), (expected,), expected.equal)
    arm.check([call], tmp_path)
