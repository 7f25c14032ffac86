"""Attention over a latent cache: writing it, reading it, and choosing what of it is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unisono.conformance import inputs
from unisono.conformance.context import Context
from unisono.conformance.expected import latent as expected_latent
from unisono.conformance.expected.comparing import Expected, Mismatch, exactly
from unisono.conformance.paging import make_step
from unisono.conformance.registry import check
from unisono.hardware.ops.attention import AttentionStep
from unisono.hardware.ops.latent_attention import LatentAttentionSize

_MIXED = ((1, 1), (1, 9), (7, 7), (3, 12), (1, 33), (16, 16), (5, 40))
"""Queries and context. Of these sizes some rows have less work in one form, some in the other."""
_SLACK = 1 << 20
"""Bytes that allocators round up to."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """One call of ``latent_attention``; ``num_selected`` positions for each query, or all."""

    label: str
    dtype: torch.dtype
    rows: tuple[tuple[int, int], ...] = _MIXED
    block_size: int = 4
    heads: int = 4
    rank: int = 32
    rotated_dim: int = 8
    key_dim: int = 16
    value_dim: int = 12
    num_selected: int | None = None
    scattered: bool = True
    apart: bool = False
    """Blocks lie further from each other than they are long."""

    def make(self) -> Case:
        step, total = make_step(self.rows, block_size=self.block_size, scattered=self.scattered)
        shape = (total, self.block_size, self.rank + self.rotated_dim)
        cache = torch.full(shape, torch.nan, dtype=self.dtype)
        for seed, table in enumerate(step.block_tables):
            cache[table] = inputs.normal(len(table), *shape[1:], dtype=self.dtype, seed=20 + seed)
        query = inputs.normal(
            sum(step.query_lens), self.heads, self.key_dim + self.rotated_dim, dtype=self.dtype
        )
        up = inputs.normal(self.heads, self.key_dim + self.value_dim, self.rank, seed=9)
        up = (up * self.rank**-0.5).to(self.dtype)
        count = self.num_selected
        return Case(self, step, cache, query, up, None if count is None else _some(step, count))

    def spread(self, cache: Tensor) -> Tensor:
        """The cache as the op gets it."""
        if not self.apart:
            return cache
        wide = cache.new_full((*cache.shape[:2], cache.shape[2] + 24), torch.nan).flatten(1)
        view = wide[:, : cache[0].numel()].view(cache.shape)
        view.copy_(cache)
        return view


@dataclass(frozen=True, slots=True)
class Case:
    """Host tensors of a setting."""

    setting: Setting
    step: AttentionStep
    cache: Tensor
    query: Tensor
    up: Tensor
    """[H, N + V, R]."""
    selected: Tensor | None

    def expected(self) -> Expected:
        return expected_latent.latent_attention(
            self.query, self.cache, self.up, self.step, scale=0.2, selected=self.selected
        )

    def call(self, context: Context) -> Callable[[], Tensor]:
        """The op on the device's copies."""
        ops, setting = context.ops, self.setting
        cache, query = setting.spread(context.put(self.cache)), context.put(self.query)
        parts = torch.split(self.up, [setting.key_dim, setting.value_dim], 1)
        keys, values = (context.put(part.contiguous()) for part in parts)
        selected = None if self.selected is None else context.put(self.selected)
        step = replace(self.step, slots=context.put(self.step.slots))

        def run() -> Tensor:
            with torch.inference_mode():
                step.plan = ops.plan_latent_attention(step, cache)
                return ops.latent_attention(
                    query, cache, (keys, values), step, scale=0.2, selected=selected
                )

        return run

    def verify(self, context: Context, want: Expected) -> None:
        context.verify(self.call(context), want, dtype=self.setting.dtype)


def _some(step: AttentionStep, count: int) -> Tensor:
    """Different positions for each query, its own among them, in no order; -1 behind them."""
    generator = torch.Generator().manual_seed(3)
    chosen = torch.full((sum(step.query_lens), count), -1)
    at = 0
    for num_queries, context in zip(step.query_lens, step.context_lens, strict=True):
        for own in range(context - num_queries, context):
            others = torch.randperm(own, generator=generator)[: count - 1]
            both = torch.cat((others, torch.tensor([own])))
            chosen[at, : len(both)] = both
            at += 1
    return chosen


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _sweep(dtype: torch.dtype) -> Iterator[Setting]:
    for heads in (1, 3, 16):
        yield Setting(label=f"{heads} heads", dtype=dtype, heads=heads)
    for rank, rotated, key, value in ((64, 16, 32, 32), (256, 32, 64, 64), (512, 64, 128, 128)):
        yield Setting(
            label=f"latent {rank} + {rotated}, key {key}, value {value}",
            dtype=dtype,
            heads=2,
            rank=rank,
            rotated_dim=rotated,
            key_dim=key,
            value_dim=value,
        )
    for block in (1, 16, 64):
        rows = tuple((min(n, c), c) for c in (block, block + 1, 2 * block + 1) for n in (1, 9))
        yield Setting(label=f"block {block}", dtype=dtype, rows=rows, block_size=block)
    yield Setting(label="blocks side by side", dtype=dtype, scattered=False)
    yield Setting(label="blocks apart", dtype=dtype, apart=True)
    yield Setting(label="blocks in order and apart", dtype=dtype, apart=True, scattered=False)
    yield Setting(label="one token", dtype=dtype, rows=((1, 1),))
    yield Setting(label="prompts alone", dtype=dtype, rows=((9, 9), (30, 30)))
    yield Setting(label="decode alone", dtype=dtype, rows=((1, 30), (1, 5), (1, 17)))
    for count in (1, 5, 64):
        yield Setting(label=f"{count} selected", dtype=dtype, num_selected=count)


@check(
    "ops.latent_attention",
    "heads, sizes of latents, block edges, selected positions: prefill, chunks and decode",
    covers=("latent_attention", "plan_latent_attention"),
)
def attention(context: Context) -> None:
    for dtype in context.dtypes:
        for setting in _sweep(dtype):
            with context.case(f"{_name(dtype)} {setting.label}"):
                case = setting.make()
                case.verify(context, case.expected())


@check(
    "ops.latent_attention_bytes",
    "attention over latents takes no more memory than it says, where the device counts it",
    covers=("latent_attention_bytes",),
)
def attention_bytes(context: Context) -> None:
    for dtype in context.dtypes:
        for rows in (((1, 700),), ((300, 300),), ((200, 1500),), ((1, 700),) * 20):
            for count in (None, 40):
                setting = Setting(label="", dtype=dtype, rows=rows, num_selected=count)
                words = f"{len(rows)} of {rows[0][0]} queries of {rows[0][1]}, {count} selected"
                with context.case(f"{_name(dtype)} {words}"):
                    _verify_bytes(context, setting)


def _verify_bytes(context: Context, setting: Setting) -> None:
    queries, length = sum(n for n, _ in setting.rows), max(c for _, c in setting.rows)
    sizes = [
        LatentAttentionSize(
            num_rows=len(setting.rows),
            num_queries=queries,
            context=longer,
            num_heads=setting.heads,
            latent_dim=setting.rank,
            rotated_dim=setting.rotated_dim,
            key_dim=setting.key_dim,
            value_dim=setting.value_dim,
        )
        for longer in (length, 2 * length)
    ]
    stated = [context.ops.latent_attention_bytes(size) for size in sizes]
    if not 0 < stated[0] <= stated[1]:
        raise Mismatch(f"{stated[0]} bytes behind {length} tokens, {stated[1]} behind twice that")
    hardware, run = context.hardware, setting.make().call(context)
    hardware.synchronize()
    hardware.reset_peak_memory()
    before = hardware.memory_use().allocated
    run()
    hardware.synchronize()
    peak = hardware.memory_use().peak_allocated
    if before is not None and peak is not None and peak - before > stated[0] + _SLACK:
        raise Mismatch(f"takes {peak - before} bytes where it says {stated[0]}")


@check("ops.latent_attention_nan", "NaN in one sequence stays in it")
def attention_nan(context: Context) -> None:
    for dtype in context.dtypes:
        with context.case(f"{_name(dtype)} NaN in one query"):
            case = Setting(label="", dtype=dtype).make()
            want = case.expected()
            case.query[3] = torch.nan
            want.values[3] = torch.nan
            case.verify(context, want)
        with context.case(f"{_name(dtype)} NaN in the latents of one sequence"):
            case = Setting(label="", dtype=dtype).make()
            want = case.expected()
            case.cache[case.step.block_tables[4][0], 0] = torch.nan
            first = sum(case.step.query_lens[:4])
            want.values[first : first + case.step.query_lens[4]] = torch.nan
            case.verify(context, want)


@check(
    "ops.latent_write",
    "latents land in their slots, and nowhere else",
    covers=("latent_write",),
)
def write(context: Context) -> None:
    for dtype in context.dtypes:
        for apart in (False, True):
            setting = Setting(label="", dtype=dtype, apart=apart)
            with context.case(f"{_name(dtype)} {'blocks apart' if apart else 'blocks together'}"):
                case = setting.make()
                case.cache.nan_to_num_(0.0)
                rows = inputs.normal(len(case.step.slots), case.cache.shape[2], dtype=dtype, seed=5)
                want = case.cache.clone()
                want.flatten(0, 1)[case.step.slots] = rows
                _write(context, case, rows, want)


def _write(context: Context, case: Case, rows: Tensor, want: Tensor) -> None:
    on_device, given = context.put(case.cache), context.put(rows)
    slots = context.put(case.step.slots)

    def run() -> Tensor:
        cache = case.setting.spread(on_device.clone())
        context.ops.latent_write(cache, given, slots)
        return cache

    context.verify(run, exactly(want), dtype=rows.dtype)


@check(
    "ops.select_keys",
    "the best-scoring positions, the first of equal ones, -1 where there are fewer",
    covers=("select_keys",),
)
def selecting(context: Context) -> None:
    for dtype in context.dtypes:
        for count in (1, 3, 8, 64):
            with context.case(f"{_name(dtype)} {count} of up to 40"):
                _select(context, dtype, count)


def _select(context: Context, dtype: torch.dtype, count: int) -> None:
    """Whole numbers, whose scores are exact and often equal."""
    step, total = make_step(_MIXED, block_size=4)
    num_tokens = sum(step.query_lens)
    query = inputs.integers(num_tokens, 3, 8, low=-2, high=2, dtype=dtype, seed=1)
    weights = inputs.integers(num_tokens, 3, low=-2, high=3, dtype=torch.float32, seed=2)
    keys = inputs.integers(total, 4, 8, low=-2, high=2, dtype=dtype, seed=3)
    want = exactly(_expected_selection(query, weights, keys, step, count).sort(-1).values)
    given = context.put(query), context.put(weights), context.put(keys)
    on_device = replace(step, slots=context.put(step.slots))

    def run() -> Tensor:
        with torch.inference_mode():
            on_device.plan = context.ops.plan_latent_attention(on_device, given[2])
            return context.ops.select_keys(*given, on_device, count=count).sort(-1).values

    context.verify(run, want, dtype=torch.int64)


def _expected_selection(
    query: Tensor, weights: Tensor, keys: Tensor, step: AttentionStep, count: int
) -> Tensor:
    chosen, at = torch.full((len(query), count), -1), 0
    rows = zip(step.query_lens, step.context_lens, step.block_tables, strict=True)
    for num_queries, context, table in rows:
        own = keys[table].flatten(0, 1).double()
        for position in range(context - num_queries, context):
            dots = (query[at].double() @ own[: position + 1].T).relu()
            scores = (weights[at].double() @ dots).tolist()
            best = sorted(range(position + 1), key=lambda p: (-scores[p], p))[:count]
            chosen[at, : len(best)] = torch.tensor(best)
            at += 1
    return chosen
