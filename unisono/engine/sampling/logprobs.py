"""Log-probabilities of chosen tokens: found on the device, read on the host, in one piece between.

A token's line is int64: its id, its rank, the ids of the likeliest, and then, as float32 two to a
word, its log-probability and those of the likeliest.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from unisono.core.request import TokenLogprob
from unisono.core.sampling_limits import MAX_LOGPROBS


def logprob_lines(logprobs: Tensor, targets: Tensor, num_top: int) -> Tensor:
    """Log-probabilities [N, V] and the chosen tokens [N] -> lines, int64 [N, W]. Which of several
    equally likely tokens are named depends on no other row: always as many are looked for."""
    own = logprobs.gather(1, targets.unsqueeze(1))
    ranks = (logprobs > own).sum(-1, keepdim=True) + 1
    most = min(MAX_LOGPROBS if num_top else 0, logprobs.shape[1])
    values, ids = (found[:, :num_top] for found in logprobs.topk(most, dim=-1))
    numbers = torch.cat((own, values), 1)
    words = F.pad(numbers, (0, numbers.shape[1] % 2)).view(torch.int64)
    return torch.cat((targets.unsqueeze(1), ranks, ids, words), 1)


def read_logprobs(lines: Tensor) -> list[TokenLogprob]:
    """The same on the host."""
    num_top = _num_top(lines.shape[1])
    head, tail = torch.split(lines, [2 + num_top, lines.shape[1] - 2 - num_top], 1)
    numbers = tail.contiguous().view(torch.float32)[:, : 1 + num_top].tolist()
    return [
        TokenLogprob(token_id, own, rank, tuple(zip(ids, values, strict=True)))
        for (token_id, rank, *ids), (own, *values) in zip(head.tolist(), numbers, strict=True)
    ]


def _num_top(width: int) -> int:
    """The k with 2 + k + ceil((1 + k) / 2) = width."""
    return (2 * (width - 2) - 1) // 3
