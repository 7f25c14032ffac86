"""``filter_logits`` without sorting the vocabulary.

The k largest numbers lie in the k spans with the largest maxima. A few passes over the logits so
find the likeliest tokens in order; a row whose cut lies beyond them is sorted whole, as the
reference does. Exact, on any device; fastest where sorting is slow.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from unisono.hardware.portable import filter_row, keep_from

__all__ = ["filter_logits"]

_SPAN = 64
_NUM_CANDIDATES = 128
_SMALL_VOCABULARY = 4 * _SPAN * _NUM_CANDIDATES


def filter_logits(
    logits: Tensor, top_k: list[int], top_p: list[float], min_p: list[float]
) -> Tensor:
    """As ``PortableOps.filter_logits``."""
    vocab_size = logits.shape[1]
    cuts = [0 < k < vocab_size or p < 1.0 for k, p in zip(top_k, top_p, strict=True)]
    if vocab_size < _SMALL_VOCABULARY or not any(cuts):
        rows = zip(logits, top_k, top_p, min_p, strict=True)
        return torch.stack([filter_row(row, k, p, m) for row, k, p, m in rows])
    candidates = _likeliest(logits)
    log_totals = logits.logsumexp(-1)
    filtered = []
    for i, (k, p, m) in enumerate(zip(top_k, top_p, min_p, strict=True)):
        threshold = _threshold(candidates[i], log_totals[i], k, p) if cuts[i] else None
        if cuts[i] and threshold is None:
            filtered.append(filter_row(logits[i], k, p, m))
            continue
        row = logits[i] if threshold is None else keep_from(logits[i], threshold)
        filtered.append(filter_row(row, 0, 1.0, m))
    return torch.stack(filtered)


def _likeliest(logits: Tensor) -> Tensor:
    """The ``_NUM_CANDIDATES`` largest of each row [R, V], in descending order."""
    missing = -logits.shape[1] % _SPAN
    padded = F.pad(logits, (0, missing), value=float("-inf")) if missing else logits
    spans = padded.view(logits.shape[0], -1, _SPAN)
    best = spans.amax(-1).topk(_NUM_CANDIDATES).indices
    gathered = spans.gather(1, best.unsqueeze(2).expand(-1, -1, _SPAN)).flatten(1)
    return gathered.topk(_NUM_CANDIDATES).values


def _threshold(ordered: Tensor, log_total: Tensor, top_k: int, top_p: float) -> Tensor | None:
    """The smallest logit that stays, or None where the candidates do not reach to it."""
    if top_k:
        if top_k >= _NUM_CANDIDATES:
            return None
        kept = ordered[ordered >= ordered[top_k - 1]]
        if kept.numel() == ordered.numel():
            return None
        ordered, log_total = kept, kept.logsumexp(0)
    if top_p >= 1.0:
        return ordered[-1]
    cumulative = (ordered - log_total).exp().cumsum(0)
    index = int((cumulative < top_p).sum())
    if index < ordered.numel():
        return ordered[index]
    return ordered[-1] if top_k else None
