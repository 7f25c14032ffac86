"""The gated delta rule in plain torch, token by token and chunk by chunk (Yang et al., 2024,
arXiv:2412.06464).

A head's state S [K, V] maps keys to values. A token lets it decay, and then moves what it holds for
the token's key towards the token's value:
S <- exp(g) S, S <- S + beta k (v - k^T S)^T, and the output is K^-0.5 q^T S.

Shapes: R sequences, H value heads, n tokens, K and V sizes of keys and values. All float32, but
values may have fewer bits. Queries and keys come with a length of sqrt(K), as ``normed_heads``
leaves them; the products divide by it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from unisono.hardware.ops.attention import scaled_product

_CHUNK = 64
_EPS = 1e-6


def normed_heads(query: Tensor, key: Tensor, num_heads: int) -> tuple[Tensor, Tensor]:
    """Query and key [T, Hk, K] -> both float32 [T, num_heads, K] with a root mean square of 1; each
    head is repeated for its share of ``num_heads``."""
    tokens, heads, size = key.shape
    shared = (x.unsqueeze(2).expand(-1, -1, num_heads // heads, -1) for x in (query, key))
    both = torch.stack(tuple(shared)).view(2, tokens, num_heads, size)
    query, key = F.rms_norm(both.float(), (size,), None, _EPS / size).unbind()
    return query, key


def delta_step(
    state: Tensor, query: Tensor, key: Tensor, value: Tensor, log_decay: Tensor, beta: Tensor
) -> tuple[Tensor, Tensor]:
    """One token of each sequence: state [R, H, K, V], query, key [R, H, K], value [R, H, V],
    log_decay, beta [R, H] -> output [R, H, V], new state."""
    size = key.shape[-1]
    state = state * log_decay.exp()[..., None, None]
    held = torch.matmul(key.unsqueeze(-2), state).squeeze(-2)
    change = torch.sub(value, held, alpha=size**-0.5) * beta.unsqueeze(-1)
    state = torch.addcmul(state, key.unsqueeze(-1), change.unsqueeze(-2), value=size**-0.5)
    return scaled_product(query.unsqueeze(-2), state, 1 / size).squeeze(-2), state


def delta_chunks(
    state: Tensor, query: Tensor, key: Tensor, value: Tensor, log_decay: Tensor, beta: Tensor
) -> tuple[Tensor, Tensor]:
    """Many tokens of one sequence: state [H, K, V], query, key [n, H, K], value [n, H, V],
    log_decay, beta [n, H] -> output [n, H, V], new state.

    Within a chunk the changes that tokens make depend on one another through a triangular system,
    whose solution is linear in the state that the chunk begins with; so the chunks' systems are
    solved together, and only products remain to be done one chunk after the other.
    """
    length, size = len(query), min(_CHUNK, len(query))
    query, key = query / key.shape[-1], key * key.shape[-1] ** -0.5
    query, key, value, log_decay, beta = (
        _chunked(x, size) for x in (query, key, value, log_decay, beta)
    )
    passed = log_decay.cumsum(-1)
    between = decay_between(passed)
    scaled_key = key * beta.unsqueeze(-1)
    changes, from_state = torch.linalg.solve_triangular(
        (scaled_key @ key.mT) * between,
        torch.cat((value * beta.unsqueeze(-1), scaled_key * passed.exp().unsqueeze(-1)), -1),
        upper=False,
        unitriangular=True,
    ).split((value.shape[-1], key.shape[-1]), -1)
    inside = (query @ key.mT) * between
    query = query * passed.exp().unsqueeze(-1)
    key = key * (passed[..., -1:] - passed).exp().unsqueeze(-1)
    decay = passed[..., -1].exp()[..., None, None]
    outputs = []
    for i in range(len(query)):
        change = changes[i] - from_state[i] @ state
        outputs.append(query[i] @ state + inside[i] @ change)
        state = state * decay[i] + key[i].mT @ change
    return torch.cat([out.transpose(0, 1) for out in outputs])[:length], state


def _chunked(x: Tensor, size: int) -> Tensor:
    """[n, H, ...] -> [chunks, H, size, ...], zeros behind the last token."""
    missing = -len(x) % size
    if missing:
        x = torch.cat((x, x.new_zeros(missing, *x.shape[1:])))
    return x.view(-1, size, *x.shape[1:]).transpose(1, 2)


def decay_between(passed: Tensor) -> Tensor:
    """From the decay [..., n] up to each token, log: that from token j to token i >= j [..., n, n],
    0 for i < j."""
    later = torch.ones(passed.shape[-1], passed.shape[-1], device=passed.device).triu(1).bool()
    difference = passed.unsqueeze(-1) - passed.unsqueeze(-2)
    return difference.masked_fill(later, float("-inf")).exp()
