"""From the hidden states of a step to the numbers that its rows ask for in place of tokens.

What a row asks for (``core/pooling.py``) is read once its prompt ends; a mean takes the sums of the
chunks before with it, so that nothing of a row stays here between two steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from unisono.core.batch import BatchRow, RowResult
from unisono.core.pooling import Pooling, PoolingKind
from unisono.models.decoder import Decoder

NOT_FINITE = "The hidden states are not finite: the weights or the dtype do not fit this input."
_LEAST_LENGTH = 1e-12


def pool(
    model: Decoder,
    rows: Sequence[BatchRow],
    hidden: Tensor,
    ends: Sequence[int],
    logits: Mapping[int, Tensor],
) -> dict[int, RowResult]:
    """Results of the rows that pool, by their indices.

    Args:
        hidden: normed, [T, H].
        ends: of each row, behind its last token in ``hidden``.
        logits: float32 [V] behind the last token, by index, of those rows that have some.
    """
    pooling = {i: row.pooling for i, row in enumerate(rows) if row.pooling is not None}
    starts = [end - len(row.token_ids) for row, end in zip(rows, ends, strict=True)]
    sums = {
        i: hidden[starts[i] : ends[i]].float().sum(0)
        for i, how in pooling.items()
        if how.kind == "mean"
    }
    results = {
        i: RowResult(pooled=_as_bytes(part.cpu()))
        for i, part in sums.items()
        if not rows[i].ends_prompt
    }
    read: dict[PoolingKind, Callable[[list[int]], Tensor]] = {
        "last": lambda of: hidden[[ends[i] - 1 for i in of]].float(),
        "mean": lambda of: torch.stack([_mean(sums[i], rows[i]) for i in of]),
        "classes": lambda of: model.scores(hidden[[ends[i] - 1 for i in of]]),
        "tokens": lambda of: torch.stack([logits[i][list(pooling[i].token_ids)] for i in of]),
    }
    ended = {i: how for i, how in pooling.items() if rows[i].ends_prompt}
    for how in dict.fromkeys(ended.values()):
        own = [i for i, other in ended.items() if other == how]
        lines = _finished(read[how.kind](own), how).cpu()
        results |= {i: _result(line) for i, line in zip(own, lines, strict=True)}
    return results


def _mean(total: Tensor, row: BatchRow) -> Tensor:
    for part in row.pooled_parts:
        total = total + torch.frombuffer(bytearray(part), dtype=torch.float32).to(total.device)
    return total / row.num_prompt_tokens


def _finished(numbers: Tensor, how: Pooling) -> Tensor:
    """numbers float32 [N, D] -> [N, dimensions]."""
    numbers = numbers[:, : how.dimensions]
    if not how.normalize:
        return numbers
    return numbers / numbers.norm(dim=-1, keepdim=True).clamp_min(_LEAST_LENGTH)


def _result(line: Tensor) -> RowResult:
    if not torch.isfinite(line).all():
        return RowResult(error=NOT_FINITE)
    return RowResult(pooled=_as_bytes(line))


def _as_bytes(line: Tensor) -> bytes:
    """Float32 on the host."""
    return line.contiguous().numpy().astype("<f4", copy=False).tobytes()
