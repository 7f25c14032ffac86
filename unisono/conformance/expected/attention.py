"""Attention by its definition, in float64, with a bound for each entry.

With scores s_j = scale q.k_j, weights p_j = softmax(s)_j and output o = sum_j p_j v_j:

- a score is off by e_j <= gamma_(D+1) scale |q|.|k_j| + 2 u |s_j|: a sum of D products, one more
  where keys are levels times a scale, and the product with the outer scale; a soft cap passes that
  on (its slope is at most 1) and adds an error of tanh;
- the softmax turns that into a relative error of exp(e_j + sum_i p_i e_i) - 1, to which exp, the
  sum of C positive terms, and the division add theirs, and u |s_max - s_j| for the difference;
- weights may be rounded to the dtype of the values before they are multiplied with them, as fused
  kernels do for their matrix units;
- the sum over C products adds gamma_(C+2) sum_j p_j |v_j|, and the result is rounded to its dtype.
"""

from __future__ import annotations

import torch
from torch import Tensor

from unisono.conformance.expected.bounds import U32, gamma, sum_error, unit_roundoff
from unisono.conformance.expected.comparing import Expected
from unisono.conformance.expected.math_apis import absolute_error, function_error
from unisono.hardware.ops.attention import AttentionStep


def attention(
    query: Tensor,
    kv: Tensor,
    step: AttentionStep,
    *,
    scale: float,
    softcap: float | None = None,
    sinks: Tensor | None = None,
) -> Expected:
    """query [T, Hq, D] over kv [2, blocks, block_size, Hk, D], all on the host."""
    flat = kv.flatten(1, 2)
    values, bounds, at = [], [], 0
    rows = zip(step.query_lens, step.context_lens, step.block_tables, strict=True)
    for num_queries, context, table in rows:
        first = _first_visible(step, context - num_queries)
        slots = [
            table[p // step.block_size] * step.block_size + p % step.block_size
            for p in range(first, context)
        ]
        keys, vals = flat[0, slots].double(), flat[1, slots].double()
        seen = _seen(step, num_queries, context, first)
        one = _row(query[at : at + num_queries], keys, vals, seen, scale, softcap, sinks)
        values.append(one.values)
        bounds.append(one.bound)
        at += num_queries
    if not values:
        empty = torch.zeros(query.shape, dtype=torch.float64)
        return Expected(empty, empty)
    return Expected(torch.cat(values), torch.cat(bounds))


def _first_visible(step: AttentionStep, first_query: int) -> int:
    return 0 if step.window is None else max(0, first_query - step.window + 1)


def _seen(step: AttentionStep, num_queries: int, context: int, first: int) -> Tensor:
    """Mask of the positions that each query sees, [n, C]."""
    query = torch.arange(context - num_queries, context).unsqueeze(1)
    key = torch.arange(first, context)
    seen = key <= query
    return seen if step.window is None else seen & (key > query - step.window)


def _row(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    seen: Tensor,
    scale: float,
    softcap: float | None,
    sinks: Tensor | None,
) -> Expected:
    """One sequence: query [n, Hq, D], keys and values [C, Hk, D]."""
    groups = query.shape[1] // keys.shape[1]
    q = query.double().transpose(0, 1)
    k, v = (x.repeat_interleave(groups, 1).transpose(0, 1) for x in (keys, values))
    scores, errors = _scores(q, k, scale, softcap)
    hidden = ~seen
    scores = scores.masked_fill(hidden, float("-inf"))
    errors = errors.masked_fill(hidden, 0.0)
    if sinks is not None:
        sink = sinks.double().view(-1, 1, 1).expand(-1, scores.shape[1], 1)
        scores = torch.cat((scores, sink), -1)
        errors = torch.cat((errors, torch.zeros_like(sink)), -1)
    relative = weight_errors(scores, errors)
    weights = torch.softmax(scores, -1)
    if sinks is not None:
        weights, relative = weights[..., :-1], relative[..., :-1]
    u_out = unit_roundoff(query.dtype)
    magnitudes = v.abs()
    out = weights @ v
    bound = (weights * (relative + u_out)) @ magnitudes
    bound = bound + sum_error(weights.shape[-1] + 2) * (weights @ magnitudes)
    bound = bound * (1 + u_out) + u_out * out.abs() + 1e-37
    return Expected(out.transpose(0, 1), bound.transpose(0, 1))


def _scores(q: Tensor, k: Tensor, scale: float, softcap: float | None) -> tuple[Tensor, Tensor]:
    scores = q @ k.transpose(1, 2) * scale
    magnitudes = q.abs() @ k.abs().transpose(1, 2) * abs(scale)
    errors = sum_error(q.shape[-1] + 1) * magnitudes + 2 * U32 * scores.abs()
    if softcap is not None:
        capped = softcap * torch.tanh(scores / softcap)
        slope = 1 - (capped / softcap).pow(2)
        errors = errors * slope + (function_error("tanh") + 3 * U32) * capped.abs()
        errors = errors + absolute_error("tanh") * softcap
        errors = errors + (errors / softcap).pow(2) * softcap
        scores = capped
    return scores, errors


def weight_errors(scores: Tensor, errors: Tensor) -> Tensor:
    """Relative errors of softmax weights, from those of the scores [..., C]."""
    weights = torch.softmax(scores, -1)
    depth = (scores.amax(-1, keepdim=True) - scores).clamp(max=200.0)
    single = errors + U32 * depth + function_error("exp", depth)
    mean = (weights * single).sum(-1, keepdim=True)
    shared = sum_error(scores.shape[-1]) + function_error("divide") + gamma(2, U32)
    return torch.expm1((single + mean + shared).clamp(max=50.0))
