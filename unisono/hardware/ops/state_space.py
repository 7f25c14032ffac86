"""The state-space recurrence of Mamba-2 in plain torch, token by token and chunk by chunk (Dao and
Gu, 2024, arXiv:2405.21060).

A head's state S [N, P] decays and takes in a token: S <- exp(dt a) S + b (dt x)^T, and the output
is c^T S. Heads of a group share b and c.

Shapes: R sequences, n tokens, H heads in G groups, P size of a head, N of a state. All float32.
"""

from __future__ import annotations

import torch
from torch import Tensor

from unisono.hardware.ops.delta_rule import decay_between

_CHUNK = 64


def state_space_step(
    state: Tensor, x: Tensor, log_decay: Tensor, b: Tensor, c: Tensor
) -> tuple[Tensor, Tensor]:
    """One token of each sequence: state [R, H, N, P], x [R, H, P] times dt, log_decay [R, H],
    b, c [R, G, N] -> output [R, H, P], new state."""
    split = b.shape[1], x.shape[1] // b.shape[1]
    grouped = torch.unflatten(state, 1, split)
    taken = torch.unflatten(x, 1, split)
    decay = torch.unflatten(log_decay.exp(), 1, split)
    grouped = grouped * decay[..., None, None]
    grouped = torch.addcmul(grouped, b[:, :, None, :, None], taken.unsqueeze(-2))
    output = torch.matmul(c[:, :, None, None, :], grouped).squeeze(-2)
    return output.flatten(1, 2), grouped.flatten(1, 2)


def state_space_chunks(
    state: Tensor, x: Tensor, log_decay: Tensor, b: Tensor, c: Tensor
) -> tuple[Tensor, Tensor]:
    """Many tokens of one sequence: state [H, N, P], x [n, H, P] times dt, log_decay [n, H],
    b, c [n, G, N] -> output [n, H, P], new state."""
    outputs = []
    for start in range(0, len(x), _CHUNK):
        part = slice(start, start + _CHUNK)
        output, state = _chunk(state, x[part], log_decay[part], b[part], c[part])
        outputs.append(output)
    return torch.cat(outputs), state


def _chunk(
    state: Tensor, x: Tensor, log_decay: Tensor, b: Tensor, c: Tensor
) -> tuple[Tensor, Tensor]:
    split = b.shape[1], x.shape[1] // b.shape[1]
    by_group = torch.unflatten(state, 0, split)
    taken = torch.unflatten(x.transpose(0, 1), 0, split)
    passed = torch.unflatten(log_decay.T.cumsum(-1), 0, split)
    b, c = b.transpose(0, 1).unsqueeze(1), c.transpose(0, 1).unsqueeze(1)
    inside = (c @ b.mT) * decay_between(passed)
    output = inside @ taken + (c @ by_group) * passed.exp().unsqueeze(-1)
    to_end = (passed[..., -1:] - passed).exp().unsqueeze(-1)
    by_group = by_group * passed[..., -1].exp()[..., None, None] + b.mT @ (taken * to_end)
    return output.flatten(0, 1).transpose(0, 1), by_group.flatten(0, 1)
