"""Expected results of the recurrent ops: token by token in float64 on the host, with a bound for
each entry, and the states that they leave.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from unisono.conformance.expected.bounds import (
    U32,
    gamma,
    sum_error,
    underflow,
    unit_roundoff,
)
from unisono.conformance.expected.comparing import Expected, exactly
from unisono.conformance.expected.math_apis import function_error
from unisono.hardware.ops.attention import AttentionStep

_EPS = 1e-6


def _tokens(step: AttentionStep) -> Iterator[tuple[int, int | None, int]]:
    """For each token of the step: its index, the block it goes on from, and the block it is in."""
    index, size = 0, step.block_size
    for count, end, table in zip(
        step.query_lens, step.context_lens, step.block_tables, strict=True
    ):
        for position in range(end - count, end):
            before = table[(position - 1) // size] if position else None
            yield index, before, table[position // size]
            index += 1


def causal_conv(
    x: Tensor, weight: Tensor, states: Tensor, step: AttentionStep, bias: Tensor | None
) -> tuple[Expected, Expected]:
    """A float32 sum of W products and a bias, rounded to the dtype; the states are copies."""
    left, rows, sizes = states.clone(), [], []
    for index, before, block in _tokens(step):
        last = torch.zeros_like(states[0]) if before is None else left[before]
        inputs = torch.cat((last, x[index : index + 1]))
        products = inputs.double() * weight.double().T
        extra = torch.zeros(x.shape[1]).double() if bias is None else bias.double()
        rows.append(products.sum(0) + extra)
        sizes.append(products.abs().sum(0) + extra.abs())
        left[block] = inputs[1:]
    values, magnitudes = torch.stack(rows), torch.stack(sizes)
    bound = sum_error(weight.shape[1] + 1) * magnitudes * 2
    bound = bound + unit_roundoff(x.dtype) * values.abs() + underflow(x.dtype)
    return Expected(values, bound), exactly(left)


def gated_delta_rule(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    log_decay: Tensor,
    beta: Tensor,
    states: Tensor,
    step: AttentionStep,
) -> tuple[Expected, Expected]:
    """A token's change of the state, I - beta k k^T, lengthens nothing, so that errors add up and
    do not grow: for each token, those of a few sums over K, as large as the largest state so far.
    A form that takes tokens together by chunks solves a system that is as well behaved."""
    left, num_heads = states.double(), value.shape[1]
    wide_query, wide_key = _unit(query, num_heads), _unit(key, num_heads)
    wide_query = wide_query * query.shape[-1] ** -0.5
    sizes = torch.zeros(left.shape[:2]).double()
    counts = torch.zeros(left.shape[0]).double()
    rows, bounds = [], []
    per_token = 8 * sum_error(key.shape[-1] + 8) + 2 * function_error("exp")
    for index, before, block in _tokens(step):
        state = torch.zeros_like(left[0]) if before is None else left[before]
        largest = torch.zeros(num_heads).double() if before is None else sizes[before]
        count = 1 if before is None else int(counts[before]) + 1
        k, v = wide_key[index], value[index].double()
        decay = log_decay[index].double()
        state = state * decay.exp()[:, None, None]
        change = (v - torch.einsum("hk,hkv->hv", k, state)) * beta[index].double()[:, None]
        state = state + torch.einsum("hk,hv->hkv", k, change)
        norms = torch.maximum(state.flatten(1).norm(dim=1), v.norm(dim=1))
        largest = torch.maximum(largest, norms)
        error = (per_token + U32 * float(decay.abs().max())) * count * largest
        rows.append(torch.einsum("hk,hkv->hv", wide_query[index], state))
        bounds.append((error * wide_query[index].norm(dim=1) * 2)[:, None].expand_as(v))
        left[block], sizes[block], counts[block] = state, largest, count
    values, u = torch.stack(rows), unit_roundoff(value.dtype)
    room = (sizes * counts[:, None] * per_token * 2)[:, :, None, None].expand_as(left)
    return (
        Expected(values, torch.stack(bounds) + u * values.abs() + underflow(value.dtype)),
        Expected(left, room),
    )


def state_space(
    x: Tensor,
    dt: Tensor,
    a: Tensor,
    b: Tensor,
    c: Tensor,
    skip: Tensor,
    states: Tensor,
    step: AttentionStep,
) -> tuple[Expected, Expected]:
    """Sums of products of which each has an error of its own: those of the same sums over absolute
    values, for each token since the row began, and of its decay."""
    left, sizes = states.double(), states.double().abs()
    counts = torch.zeros(left.shape[0]).double()
    heads = x.shape[1] // b.shape[1]
    wide_b, wide_c = (each.double().repeat_interleave(heads, dim=1) for each in (b, c))
    rows, bounds = [], []
    per_token = gamma(6, U32) + function_error("exp")
    for index, before, block in _tokens(step):
        state = torch.zeros_like(left[0]) if before is None else left[before]
        size = torch.zeros_like(sizes[0]) if before is None else sizes[before]
        count = 1 if before is None else int(counts[before]) + 1
        own, of_token = x[index].double(), dt[index].double()
        decay = (of_token * a.double()).exp()[:, None, None]
        taken = torch.einsum("hn,hp->hnp", wide_b[index], own * of_token[:, None])
        state, size = state * decay + taken, size * decay + taken.abs()
        skipped = skip.double()[:, None] * own
        magnitudes = torch.einsum("hn,hnp->hp", wide_c[index].abs(), size) + skipped.abs()
        longest = U32 * float((dt.double().sum(0) * a.double().abs()).max())
        relative = sum_error(b.shape[-1] + count) + count * per_token + longest
        rows.append(torch.einsum("hn,hnp->hp", wide_c[index], state) + skipped)
        bounds.append(2 * relative * magnitudes)
        left[block], sizes[block], counts[block] = state, size, count
    values = torch.stack(rows)
    room = 2 * (counts * per_token + sum_error(len(x)) + longest).view(-1, 1, 1, 1) * sizes
    bound = torch.stack(bounds) + unit_roundoff(x.dtype) * values.abs() + underflow(x.dtype)
    return Expected(values, bound), Expected(left, room + underflow(torch.float32))


def _unit(x: Tensor, num_heads: int) -> Tensor:
    wide = x.double()
    wide = wide / (wide.pow(2).sum(-1, keepdim=True) + _EPS).sqrt()
    return wide.repeat_interleave(num_heads // x.shape[1], dim=1)


def gated_rms_norm(x: Tensor, gate: Tensor, weight: Tensor, eps: float) -> Expected:
    """Expected norm and activation, with a rounding to the dtype after each."""
    wide, opening = x.double(), gate.double()
    scale = (wide.pow(2).mean(-1, keepdim=True) + eps).rsqrt()
    values = wide * scale * weight.double() * opening * torch.sigmoid(opening)
    relative = function_error("exp", opening) + function_error("divide") + gamma(8, U32)
    relative += sum_error(x.shape[-1] + 3) / 2 + function_error("rsqrt")
    relative += gamma(3, unit_roundoff(x.dtype))
    small = 90 * torch.finfo(torch.float32).smallest_normal + underflow(x.dtype)
    return Expected(values, relative * values.abs() + small * (1 + wide.abs() * scale))
