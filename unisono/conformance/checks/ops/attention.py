"""``kv_write`` and ``attention`` over the paged cache."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from unisono.conformance import inputs
from unisono.conformance.context import Context
from unisono.conformance.expected import attention as expected_attention
from unisono.conformance.expected.comparing import Expected, exactly
from unisono.conformance.paging import make_step
from unisono.conformance.registry import check
from unisono.hardware.ops.attention import AttentionStep
from unisono.hardware.ops.quantized_kv import LayerKV

MIXED_ROWS = ((1, 1), (1, 9), (7, 7), (3, 12), (1, 33), (16, 16), (5, 40))


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """One call of the op. ``rows`` are (queries, context)."""

    label: str
    dtype: torch.dtype
    rows: tuple[tuple[int, int], ...] = MIXED_ROWS
    block_size: int = 4
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 64
    window: int | None = None
    scattered: bool = True
    softcap: float | None = None
    sinks: bool = False
    num_blocks: int | None = None
    spread: float = 1.0

    def make(self) -> Case:
        step, total = make_step(
            self.rows,
            block_size=self.block_size,
            window=self.window,
            scattered=self.scattered,
            num_blocks=self.num_blocks,
        )
        kv = torch.full(
            (2, total, self.block_size, self.kv_heads, self.head_dim), torch.nan, dtype=self.dtype
        )
        for seed, table in enumerate(step.block_tables):
            if table:
                shape = (2, len(table), *kv.shape[2:])
                kv[:, table] = inputs.normal(*shape, dtype=self.dtype, seed=20 + seed)
        shape = (sum(step.query_lens), self.heads, self.head_dim)
        query = (inputs.normal(*shape, seed=3) * self.spread).to(self.dtype)
        sinks = inputs.normal(self.heads, seed=9) if self.sinks else None
        return Case(self, step, kv, query, sinks)


@dataclass(frozen=True, slots=True)
class Case:
    """Host tensors of a setting."""

    setting: Setting
    step: AttentionStep
    kv: Tensor
    query: Tensor
    sinks: Tensor | None

    def expected(self) -> Expected:
        setting = self.setting
        return expected_attention.attention(
            self.query,
            self.kv,
            self.step,
            scale=setting.head_dim**-0.5,
            softcap=setting.softcap,
            sinks=self.sinks,
        )

    def verify(self, context: Context, want: Expected, kv: LayerKV | None = None) -> None:
        """``kv``: the cache in another form, on the device."""
        setting, ops = self.setting, context.ops
        kv, query = context.put(self.kv) if kv is None else kv, context.put(self.query)
        sinks = None if self.sinks is None else context.put(self.sinks)
        step = replace(self.step, slots=context.put(self.step.slots))

        def run() -> Tensor:
            with torch.inference_mode():
                step.plan = ops.plan_attention(step, kv)
                return ops.attention(
                    query,
                    kv,
                    step,
                    scale=setting.head_dim**-0.5,
                    softcap=setting.softcap,
                    sinks=sinks,
                )

        context.verify(run, want, dtype=setting.dtype)


def _run(context: Context, settings: Iterator[Setting] | Sequence[Setting]) -> None:
    for setting in settings:
        name = f"{str(setting.dtype).removeprefix('torch.')} {setting.label}"
        with context.case(name):
            case = setting.make()
            case.verify(context, case.expected())


def _sweep(dtype: torch.dtype, *, quick: bool) -> Iterator[Setting]:
    for size in (64, 80, 96, 128, 192, 256):
        yield Setting(label=f"head_dim {size}", dtype=dtype, head_dim=size)
    for heads, kv_heads in ((3, 3), (4, 1), (8, 2), (12, 2), (16, 1)):
        words = f"{heads} heads, {kv_heads} key-value heads"
        yield Setting(label=words, dtype=dtype, heads=heads, kv_heads=kv_heads)
    for window in (1, 4, 5, 100):
        yield Setting(label=f"window {window}", dtype=dtype, window=window)
    for block in (1, 16, 32, 256):
        rows = tuple((1, c) for c in (block - 1, block, block + 1, 2 * block + 1) if c)
        yield Setting(label=f"block {block}, decode", dtype=dtype, rows=rows, block_size=block)
        rows = tuple((min(c, 9), c) for c in (block - 1, block, block + 1, 2 * block + 1) if c)
        yield Setting(label=f"block {block}, chunks", dtype=dtype, rows=rows, block_size=block)
    yield Setting(label="blocks side by side", dtype=dtype, scattered=False)
    yield Setting(label="soft cap", dtype=dtype, softcap=2.0, window=5)
    yield Setting(label="sinks", dtype=dtype, sinks=True)
    yield Setting(
        label="sinks, soft cap and window", dtype=dtype, sinks=True, softcap=9.0, window=7
    )
    yield Setting(label="one token", dtype=dtype, rows=((1, 1),))
    if not quick:
        rows = tuple((1, c) for c in range(1, 70))
        yield Setting(label="every length to 69", dtype=dtype, rows=rows, block_size=16)
        rows = tuple((c, c) for c in range(1, 70))
        yield Setting(label="every prompt to 69", dtype=dtype, rows=rows, block_size=16)


@check(
    "ops.attention",
    "head sizes, groups, windows, block edges, soft cap, sinks: prefill, chunks and decode",
    covers=("attention", "plan_attention"),
)
def attention(context: Context) -> None:
    for dtype in context.dtypes:
        _run(context, _sweep(dtype, quick=context.quick))


@check(
    "ops.attention_long", "thousands of tokens, and blocks whose slots exceed 65,536", seconds=120
)
def attention_long(context: Context) -> None:
    for dtype in context.dtypes:
        lengths = (2049, 5000) if context.quick else (2049, 5000, 16_385, 32_769)
        rows = tuple((1, length) for length in lengths)
        small: dict[str, Any] = {"heads": 2, "kv_heads": 1, "block_size": 16}
        _run(context, [Setting(label="long decode", dtype=dtype, rows=rows, **small)])
        rows = ((300, 2100),) if context.quick else ((1500, 1500), (700, 4100))
        _run(context, [Setting(label="long prefill", dtype=dtype, rows=rows, **small)])
        _run(context, [Setting(label="long window", dtype=dtype, rows=rows, window=1024, **small)])
        far = Setting(
            label="slots beyond 65,536", dtype=dtype, rows=MIXED_ROWS, num_blocks=4_200, **small
        )
        _run(context, [replace(far, head_dim=16)])


@check("ops.attention_extremes", "large scores, equal scores, zeros and tiny values")
def attention_extremes(context: Context) -> None:
    for dtype in context.dtypes:
        _run(
            context,
            [
                Setting(label="scores in the hundreds", dtype=dtype, spread=100.0),
                Setting(label="scores in the thousands", dtype=dtype, spread=1500.0),
                Setting(label="equal scores", dtype=dtype, spread=0.0),
                Setting(label="tiny scores", dtype=dtype, spread=1e-6),
            ],
        )


@check("ops.attention_nan", "NaN in one sequence stays in it; what a window has left may be NaN")
def attention_nan(context: Context) -> None:
    for dtype in context.dtypes:
        name = str(dtype).removeprefix("torch.")
        with context.case(f"{name} NaN in one query"):
            case = Setting(label="", dtype=dtype).make()
            want = case.expected()
            case.query[3] = torch.nan
            want.values[3] = torch.nan
            case.verify(context, want)
        with context.case(f"{name} NaN in the values of one sequence"):
            case = Setting(label="", dtype=dtype).make()
            want = case.expected()
            case.kv[1, case.step.block_tables[4][0], 0] = torch.nan
            first = sum(case.step.query_lens[:4])
            want.values[first : first + case.step.query_lens[4]] = torch.nan
            case.verify(context, want)
        with context.case(f"{name} NaN in blocks that the window has left"):
            case = Setting(label="", dtype=dtype, rows=((1, 20), (2, 30)), window=3).make()
            want = case.expected()
            for row, context_len in enumerate(case.step.context_lens):
                gone = (context_len - 4 - 2) // 4
                case.kv[:, case.step.block_tables[row][:gone]] = torch.nan
                case.step.block_tables[row][:gone] = [0] * gone
            case.kv[:, 0] = torch.nan
            case.verify(context, want)


@check(
    "ops.kv_write", "keys and values land in their slots, and nowhere else", covers=("kv_write",)
)
def kv_write(context: Context) -> None:
    for dtype in context.dtypes:
        settings = [
            Setting(label="mixed rows", dtype=dtype, head_dim=16),
            Setting(label="one token", dtype=dtype, rows=((1, 5),), head_dim=16),
            Setting(label="ends of blocks", dtype=dtype, rows=((1, 4), (1, 8), (4, 4), (2, 5))),
            Setting(label="nothing", dtype=dtype, rows=()),
            Setting(
                label="slots beyond 65,536",
                dtype=dtype,
                num_blocks=4_200,
                block_size=16,
                head_dim=16,
            ),
        ]
        for setting in settings:
            with context.case(f"{str(dtype).removeprefix('torch.')} {setting.label}"):
                _write(context, setting)


def _write(context: Context, setting: Setting) -> None:
    case = setting.make()
    shape = (case.query.shape[0], setting.kv_heads, setting.head_dim)
    # Views of a wider tensor, as the model hands them over.
    both = inputs.normal(shape[0], 3 * shape[1], shape[2], dtype=setting.dtype, seed=5)
    key, value = both[:, : shape[1]], both[:, shape[1] : 2 * shape[1]]
    case.kv.nan_to_num_(0.0)
    want = case.kv.clone()
    want[0].flatten(0, 1)[case.step.slots] = key
    want[1].flatten(0, 1)[case.step.slots] = value
    on_device, slots, heads = context.put(case.kv), context.put(case.step.slots), context.put(both)

    def run() -> Tensor:
        kv = on_device.clone()
        context.ops.kv_write(kv, heads[:, : shape[1]], heads[:, shape[1] : 2 * shape[1]], slots)
        return kv

    context.verify(run, exactly(want), dtype=setting.dtype)
