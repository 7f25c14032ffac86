"""Choosing tokens against the reference, also where many tokens tie."""

from __future__ import annotations

import pytest
import torch
import unisono_cpu as uc
from torch import Tensor

from unisono.hardware import PortableOps

REFERENCE = PortableOps()


def logits_for(kind: str, vocabulary: int, rows: int = 3) -> Tensor:
    logits = torch.randn(rows, vocabulary)
    if kind == "peaked":
        logits *= 8
    elif kind == "ties":
        logits = (logits * 2).round()
    elif kind == "equal":
        logits = torch.zeros(rows, vocabulary)
    elif kind == "masked":
        logits[:, ::3] = float("-inf")
    return logits


KINDS = ["flat", "peaked", "ties", "equal", "masked"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("vocabulary", [1, 17, 1000, 50_000])
def test_argmax(isa: str, kind: str, vocabulary: int) -> None:
    logits = logits_for(kind, vocabulary)
    assert torch.equal(uc.argmax(logits), logits.argmax(-1))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("top_k", "top_p", "min_p"),
    [(0, 1.0, 0.0), (5, 1.0, 0.0), (0, 0.9, 0.0), (0, 1.0, 0.1), (50, 0.8, 0.02), (0, 1e-9, 0.0),
     (1, 1.0, 0.0), (10**6, 0.5, 0.0)],
)  # fmt: skip
@pytest.mark.parametrize("vocabulary", [17, 3000])
def test_draw(isa: str, kind: str, top_k: int, top_p: float, min_p: float, vocabulary: int) -> None:
    logits = logits_for(kind, vocabulary)
    options = {"top_k": [top_k] * 3, "top_p": [top_p] * 3, "min_p": [min_p] * 3}
    filtered = REFERENCE.filter_logits(logits, **options)
    probabilities = torch.softmax(filtered.double(), -1)
    cumulative = probabilities.cumsum(-1)
    for uniform in (0.0, 0.1, 0.37, 0.5, 0.83, 0.999999):
        ids = uc.draw(logits, torch.full((3,), uniform), **options)
        for row in range(3):
            chosen = int(ids[row])
            assert probabilities[row, chosen] > 0
            before = float(cumulative[row, chosen] - probabilities[row, chosen])
            assert before - 1e-5 <= uniform <= float(cumulative[row, chosen]) + 1e-5


def test_the_first_and_the_last_token(isa: str) -> None:
    logits = torch.zeros(2, 5)
    uniforms = torch.tensor([0.0, 0.99999997], dtype=torch.float64)
    options = {"top_k": [0, 0], "top_p": [1.0, 1.0], "min_p": [0.0, 0.0]}
    assert uc.draw(logits, uniforms, **options).tolist() == [0, 4]


def test_rows_do_not_depend_on_threads(isa: str) -> None:
    logits, uniforms = torch.randn(9, 2000), torch.rand(9)
    options = {"top_k": [40] * 9, "top_p": [0.9] * 9, "min_p": [0.01] * 9}
    uc.set_threads(1)
    alone = uc.draw(logits, uniforms, **options)
    for threads in (2, 5):
        uc.set_threads(threads)
        assert torch.equal(uc.draw(logits, uniforms, **options), alone)


def test_bad_requests() -> None:
    with pytest.raises(ValueError, match="one entry a row"):
        uc.draw(torch.zeros(2, 5), torch.zeros(1), top_k=[0], top_p=[1.0], min_p=[0.0])
    with pytest.raises(ValueError, match="logits"):
        uc.argmax(torch.zeros(2, 5).bfloat16())
