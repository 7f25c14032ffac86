"""Ops over states: convolutions and the gated delta rule across blocks and rows, and its norm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from unisono.conformance import inputs
from unisono.conformance.context import Context
from unisono.conformance.expected import recurrent as expected_recurrent
from unisono.conformance.expected.comparing import Expected
from unisono.conformance.paging import make_step
from unisono.conformance.registry import check
from unisono.hardware.ops.attention import AttentionStep

_ROWS = {
    "one token": ((1, 1),),
    "decode": ((1, 9), (1, 1), (1, 33), (1, 12)),
    "a prompt": ((70, 70),),
    "chunks and decode": ((1, 9), (7, 12), (1, 1), (66, 90), (5, 5)),
}
_BLOCKS = (4, 128)
_EPS = 1e-6


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _of_weights(dtype: torch.dtype) -> dict[str, torch.dtype]:
    """Dtypes that weights have beside inputs of ``dtype``, by what a case says of them."""
    wide = {} if dtype == torch.float32 else {", float32 weights": torch.float32}
    return {"": dtype, **wide}


def _shared(step: AttentionStep) -> AttentionStep:
    """With a row that goes on where the first one, in the same step, has filled its first block."""
    size, table = step.block_size, step.block_tables[0]
    return replace(
        step,
        query_lens=[*step.query_lens, 2],
        context_lens=[*step.context_lens, size + 2],
        block_tables=[*step.block_tables, [table[0], 0]],
    )


def _steps(block_size: int) -> list[tuple[str, AttentionStep, int]]:
    found = []
    for words, rows in _ROWS.items():
        step, total = make_step(rows, block_size=block_size)
        found.append((f"{words}, blocks of {block_size}", step, total))
    if block_size < 70:
        step, total = make_step(_ROWS["a prompt"], block_size=block_size)
        found.append((f"a shared beginning, blocks of {block_size}", _shared(step), total))
    return found


def _states(step: AttentionStep, total: int, *shape: int, dtype: torch.dtype) -> Tensor:
    """NaN but where a row goes on."""
    states = torch.full((total, *shape), torch.nan, dtype=dtype)
    for seed, (count, end, table) in enumerate(
        zip(step.query_lens, step.context_lens, step.block_tables, strict=True)
    ):
        if end > count:
            block = table[(end - count - 1) // step.block_size]
            states[block] = inputs.normal(*shape, dtype=dtype, seed=50 + seed)
    return states


def _verify(
    context: Context,
    run: Callable[[Tensor, AttentionStep], Tensor],
    step: AttentionStep,
    states: Tensor,
    want: tuple[Expected, Expected],
    dtype: torch.dtype,
) -> None:
    on_device = context.put(states)

    def both() -> tuple[Tensor, Tensor]:
        with torch.inference_mode():
            held, own = on_device.clone(), replace(step)
            own.plan = context.ops.plan_states(own, held)
            return run(held, own), held

    context.verify(both, want, dtype=(dtype, states.dtype))


@check(
    "ops.causal_conv",
    "short convolutions: rows and blocks in every position, states exact",
    covers=("causal_conv", "plan_states"),
)
def causal_conv(context: Context) -> None:
    for dtype in context.dtypes:
        for weights, held_as in _of_weights(dtype).items():
            for width, channels in ((4, 96), (3, 33), (2, 1)):
                weight = inputs.normal(channels, width, dtype=held_as, seed=2)
                bias = inputs.normal(channels, dtype=held_as, seed=3) if width == 3 else None
                for words, step, total in [each for size in _BLOCKS for each in _steps(size)]:
                    label = f"{_name(dtype)}{weights}, width {width}, {words}"
                    with context.case(label):
                        _verify_conv(context, dtype, weight, bias, step, total)


def _verify_conv(
    context: Context,
    dtype: torch.dtype,
    weight: Tensor,
    bias: Tensor | None,
    step: AttentionStep,
    total: int,
) -> None:
    channels, width = weight.shape
    x = inputs.normal(sum(step.query_lens), channels, dtype=dtype, seed=1)
    states = _states(step, total, width - 1, channels, dtype=dtype)
    want = expected_recurrent.causal_conv(x, weight, states, step, bias)
    given = context.put(x), context.put(weight)
    extra = None if bias is None else context.put(bias)

    def run(held: Tensor, own: AttentionStep) -> Tensor:
        return context.ops.causal_conv(*given, held, own, extra)

    _verify(context, run, step, states, want, dtype)


@check(
    "ops.gated_delta_rule",
    "states across rows, blocks and chunks of tokens",
    covers=("gated_delta_rule",),
)
def gated_delta_rule(context: Context) -> None:
    for dtype in context.dtypes:
        for key_heads, value_heads, key_dim, value_dim in ((2, 4, 64, 48), (1, 1, 128, 128)):
            for words, step, total in [each for size in _BLOCKS for each in _steps(size)]:
                tokens = sum(step.query_lens)
                query, key = (
                    inputs.normal(tokens, key_heads, key_dim, dtype=dtype, seed=seed)
                    for seed in (1, 2)
                )
                value = inputs.normal(tokens, value_heads, value_dim, dtype=dtype, seed=3)
                log_decay = -inputs.normal(tokens, value_heads, seed=4).abs()
                beta = inputs.normal(tokens, value_heads, seed=5).sigmoid()
                shape = (value_heads, key_dim, value_dim)
                states = _states(step, total, *shape, dtype=torch.float32)
                given = (query, key, value, log_decay, beta)
                with context.case(f"{_name(dtype)} {value_heads} heads, {words}"):
                    want = expected_recurrent.gated_delta_rule(*given, states, step)
                    on_device = [context.put(x) for x in given]

                    def run(
                        held: Tensor, own: AttentionStep, given: list[Tensor] = on_device
                    ) -> Tensor:
                        return context.ops.gated_delta_rule(*given, held, own)

                    _verify(context, run, step, states, want, dtype)


@check(
    "ops.state_space",
    "the recurrence of Mamba-2 across rows, blocks and chunks of tokens",
    covers=("state_space",),
)
def state_space(context: Context) -> None:
    for dtype in context.dtypes:
        for groups, heads, head_dim, state_dim in ((2, 4, 48, 64), (1, 1, 64, 128)):
            for words, step, total in [each for size in _BLOCKS for each in _steps(size)]:
                tokens = sum(step.query_lens)
                x = inputs.normal(tokens, heads, head_dim, dtype=dtype, seed=1)
                dt = inputs.normal(tokens, heads, seed=2).abs()
                a, skip = -inputs.positive(heads, seed=3), inputs.normal(heads, seed=4)
                b, c = (
                    inputs.normal(tokens, groups, state_dim, dtype=dtype, seed=seed)
                    for seed in (5, 6)
                )
                states = _states(step, total, heads, state_dim, head_dim, dtype=torch.float32)
                given = (x, dt, a, b, c, skip)
                with context.case(f"{_name(dtype)} {heads} heads, {words}"):
                    want = expected_recurrent.state_space(*given, states, step)
                    on_device = [context.put(each) for each in given]

                    def run(
                        held: Tensor, own: AttentionStep, given: list[Tensor] = on_device
                    ) -> Tensor:
                        return context.ops.state_space(*given, held, own)

                    _verify(context, run, step, states, want, dtype)


@check("ops.gated_rms_norm", "a norm times an activation", covers=("gated_rms_norm",))
def gated_rms_norm(context: Context) -> None:
    for dtype in context.dtypes:
        for weights, held_as in _of_weights(dtype).items():
            for shape in ((1, 64), (5, 3, 96), (33, 128), (0, 16), (4, 129)):
                x, gate = (inputs.normal(*shape, dtype=dtype, seed=seed) for seed in (1, 2))
                weight = inputs.positive(shape[-1], dtype=held_as, seed=3)
                with context.case(f"{_name(dtype)}{weights}, {list(shape)}"):
                    want = expected_recurrent.gated_rms_norm(x, gate, weight, _EPS)
                    given = [context.put(each) for each in (x, gate, weight)]
                    context.verify(
                        lambda *given: context.ops.gated_rms_norm(*given, _EPS),
                        want,
                        dtype=dtype,
                        given=given,
                    )
