"""Attention over latents by its definition, in float64, with a bound for each entry.

The bounds are those of ``expected/attention.py`` for keys k = W c and values v = U c of a latent c.
``up`` may be taken to the query or to the latents, and what comes out is rounded to the dtype of
the cache. Either way a score is off by at most scale |q| |W| |c| times the errors of both sums and
of that rounding, and a result likewise by sum_j p_j |U| |c_j| times them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from unisono.conformance.expected.attention import weight_errors
from unisono.conformance.expected.bounds import U32, sum_error, unit_roundoff
from unisono.conformance.expected.comparing import Expected
from unisono.hardware.ops.attention import AttentionStep


def latent_attention(
    query: Tensor,
    cache: Tensor,
    up: Tensor,
    step: AttentionStep,
    *,
    scale: float,
    selected: Tensor | None = None,
) -> Expected:
    """Expected outputs for arguments as of the op, all on the host."""
    values, bounds, at = [], [], 0
    rows = zip(step.query_lens, step.context_lens, step.block_tables, strict=True)
    for num_queries, context, table in rows:
        tokens = slice(at, at + num_queries)
        size = step.block_size
        slots = [table[p // size] * size + p % size for p in range(context)]
        seen = _seen(num_queries, context, None if selected is None else selected[tokens])
        one = _row(query[tokens], cache.flatten(0, 1)[slots], up, seen, scale)
        values.append(one.values)
        bounds.append(one.bound)
        at += num_queries
    return Expected(torch.cat(values), torch.cat(bounds))


def _seen(num_queries: int, context: int, selected: Tensor | None) -> Tensor:
    """Mask of the positions that each query sees, [n, C]."""
    key = torch.arange(context)
    seen = key <= torch.arange(context - num_queries, context).unsqueeze(1)
    return seen if selected is None else seen & (selected.unsqueeze(2) == key).any(1)


def _row(query: Tensor, latents: Tensor, up: Tensor, seen: Tensor, scale: float) -> Expected:
    """One sequence: query [n, H, N + P], latents [C, R + P], up [H, N + V, R]."""
    rank = up.shape[2]
    num_rotated = latents.shape[1] - rank
    key_dim = query.shape[2] - num_rotated
    wide = latents.double()
    both = torch.einsum("cr,hdr->hcd", wide[:, :rank], up.double())
    sizes = torch.einsum("cr,hdr->hcd", wide[:, :rank].abs(), up.double().abs())
    rotated = wide[:, rank:].expand(up.shape[0], -1, -1)
    keys = torch.cat((both[..., :key_dim], rotated), -1).transpose(1, 2)
    key_sizes = torch.cat((sizes[..., :key_dim], rotated.abs()), -1).transpose(1, 2)
    u = unit_roundoff(query.dtype)
    sums = sum_error(rank + num_rotated) + sum_error(query.shape[2])

    q = query.double().transpose(0, 1)
    scores = (q @ keys * scale).masked_fill(~seen, float("-inf"))
    errors = (sums + 2 * u) * (q.abs() @ key_sizes) * scale + 2 * U32 * scores.abs()
    relative = weight_errors(scores, errors.masked_fill(~seen, 0.0))
    weights = torch.softmax(scores, -1)
    out, magnitudes = weights @ both[..., key_dim:], sizes[..., key_dim:]
    bound = (weights * (relative + u)) @ magnitudes
    bound = bound + (sum_error(len(latents) + 1) + sums + 2 * u) * (weights @ magnitudes)
    bound = bound * (1 + u) + u * out.abs() + 1e-37
    return Expected(out.transpose(0, 1), bound.transpose(0, 1))
