"""Counters of the roofline clock: what ran, and how long the imitated chip would take at least.

Each op takes the longer of moving its bytes and doing its multiply-adds at the published rates.
Launching, waiting and everything else that no one publishes is left out: a lower bound.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import torch

from unisono_virtual.settings import settings


@dataclass(frozen=True, slots=True)
class OpTotals:
    """All calls of one op, or of all; bytes read and written, FLOPs, predicted seconds."""

    calls: int
    bytes: float
    flops: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """``seconds`` is a lower bound, None where ``reason`` says why there is none."""

    seconds: float | None
    reason: str


def op_totals(device: int = 0) -> dict[str, OpTotals]:
    """By op, since the start or the last ``reset``."""
    if not settings().compiled:
        return {}
    report = json.loads(torch.ops.unisono_virtual.report(device))
    return {name: OpTotals(**totals) for name, totals in report.items()}


def predict(device: int = 0) -> Prediction:
    """Time of all work on the device so far, or why it is unknown."""
    reason = settings().imitation.unpredictable
    if not settings().compiled:
        reason = "the device in Python has no clock"
    if reason is None:
        reason = torch.ops.unisono_virtual.why_no_prediction(device)
    if reason:
        return Prediction(None, reason)
    return Prediction(float(torch.ops.unisono_virtual.simulated_seconds(device)), "")


def predicted_seconds(device: int = 0) -> float | None:
    """Predicted seconds, as ``predict`` gives them with details."""
    return predict(device).seconds


def reset() -> None:
    """Counters and simulated time of all devices start again."""
    if settings().compiled:
        torch.ops.unisono_virtual.reset_clock()
