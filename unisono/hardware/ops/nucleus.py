"""``draw`` and ``argmax`` over a large vocabulary without sorting it or scanning it often.

The k largest numbers lie in the k spans with the largest maxima, so one pass of span maxima finds
the likeliest tokens in order. Mostly the cut lies among them, and the choice is made among a few.
Where it lies beyond, a histogram of the probabilities finds the one bucket to sort. The same
tokens stay as in the reference, on any device; fastest where sorting is slow.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from unisono.hardware.ops.portable import PortableOps, in_spans, keep_from, nucleus_threshold

_SPAN = 64
_NUM_CANDIDATES = 128
_NUM_BUCKETS = 4096
_BUCKET_RANGE = 32.0
"""Nats below the maximum that the histogram resolves; what lies lower shares the last bucket."""


class NucleusOps(PortableOps):
    """The op table with another way to the same tokens."""

    def argmax(self, logits: Tensor) -> Tensor:
        spans = _in_spans(logits)
        span = spans.amax(-1).argmax(-1, keepdim=True)
        inside = spans.gather(1, span.unsqueeze(2).expand(-1, 1, _SPAN)).squeeze(1)
        return span.squeeze(1) * _SPAN + inside.argmax(-1)

    def draw(
        self,
        logits: Tensor,
        uniforms: Tensor,
        *,
        top_k: list[int],
        top_p: list[float],
        min_p: list[float],
    ) -> Tensor:
        values, ids = _likeliest(logits)
        log_totals = logits.logsumexp(-1)
        chosen: list[Tensor] = []
        for i, (k, p, m) in enumerate(zip(top_k, top_p, min_p, strict=True)):
            kept = _count_kept(values[i], log_totals[i], k, p, m)
            if kept is not None:
                ordered, by_id = ids[i, :kept].sort()
                pick = self.sample(values[i, :kept][by_id].unsqueeze(0), uniforms[i : i + 1])
                chosen.append(ordered[pick])
            else:
                threshold = _threshold(logits[i], k, p, m)
                filtered = logits[i] if threshold is None else keep_from(logits[i], threshold)
                chosen.append(self.sample(filtered.unsqueeze(0), uniforms[i : i + 1]))
        return torch.cat(chosen)


def _in_spans(logits: Tensor) -> Tensor:
    return in_spans(logits, _SPAN, fill=float("-inf"))


def _likeliest(logits: Tensor) -> tuple[Tensor, Tensor]:
    """The largest of each row [R, V], in descending order, and their ids."""
    spans = _in_spans(logits)
    maxima = spans.amax(-1)
    best = maxima.topk(min(_NUM_CANDIDATES, maxima.shape[1])).indices
    gathered = spans.gather(1, best.unsqueeze(2).expand(-1, -1, _SPAN)).flatten(1)
    values, places = gathered.topk(min(_NUM_CANDIDATES, logits.shape[1]))
    ids = best.gather(1, places // _SPAN) * _SPAN + places % _SPAN
    return values, ids


def _count_kept(
    ordered: Tensor, log_total: Tensor, top_k: int, top_p: float, min_p: float
) -> int | None:
    """Number of the likeliest that stay; None where others, or others as likely, stay too."""
    count = ordered.numel()
    if 0 < top_k < count:
        count = int((ordered >= ordered[top_k - 1]).sum())
        log_total = ordered[:count].logsumexp(0)
    elif top_k >= count:
        return None
    if top_p < 1.0:
        index = int(((ordered[:count] - log_total).double().exp().cumsum(0) < top_p).sum())
        if index < count:
            count = int((ordered[:count] >= ordered[index]).sum())
    if min_p > 0.0:
        count = int((ordered[:count] >= ordered[0] + math.log(min_p)).sum())
    return count if count < ordered.numel() else None


def _threshold(logits: Tensor, top_k: int, top_p: float, min_p: float) -> Tensor | None:
    """The smallest logit of one row [V] that stays; None where all do."""
    threshold = None
    kept = logits
    if 0 < top_k < logits.numel():
        threshold = logits.topk(top_k).values[-1]
        kept = logits[logits >= threshold]
    if top_p < 1.0:
        threshold = _nucleus(kept, top_p)
    if min_p > 0.0:
        floor = logits.amax() + math.log(min_p)
        threshold = floor if threshold is None else torch.maximum(threshold, floor)
    return threshold


def _nucleus(logits: Tensor, top_p: float) -> Tensor:
    """``nucleus_threshold``, sorting only the bucket that holds it."""
    log_total = logits.logsumexp(0)
    depth = (logits.amax() - logits) * (_NUM_BUCKETS / _BUCKET_RANGE)
    bucket = depth.clamp_(max=_NUM_BUCKETS - 1).int()
    mass = torch.bincount(bucket, (logits - log_total).exp().double(), _NUM_BUCKETS)
    cumulative = mass.cumsum(0)
    index = min(int((cumulative < top_p).sum()), int(bucket.amax()))
    inside = logits[bucket == index].sort(descending=True).values
    before = float(cumulative[index] - mass[index])
    return nucleus_threshold(inside, log_total, top_p, before)
