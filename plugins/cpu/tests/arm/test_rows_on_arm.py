"""Norms, rotation, activation and the choice of tokens on ARM, against the reference ops; where no
sum goes across lanes NEON has the bits of AVX2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
import unisono_cpu as uc
from emulated import (
    ADD_RMS_NORM,
    ARGMAX,
    DRAW,
    DTYPES,
    ROTARY_HEADS,
    SILU_MUL,
    Arm,
    Call,
    on,
    some,
)
from torch import Tensor

from unisono.hardware import PortableOps

REFERENCE = PortableOps()


def close(out: Tensor, expected: Tensor) -> bool:
    """One rounding of the dtype apart."""
    tolerance = 2e-6 if out.dtype == torch.float32 else 2.0**-7
    return torch.allclose(out.float(), expected.float(), rtol=tolerance, atol=tolerance)


def norms(dtype: torch.dtype) -> Iterator[Call]:
    for rows, size in [(1, 1), (1, 1024), (7, 100), (40, 64)]:
        x, weight, residual = torch.randn(rows, size).to(dtype), torch.rand(size), torch.randn(
            rows, size
        )  # fmt: skip
        total = residual + x.float()
        expected = REFERENCE.rms_norm(total, weight, 1e-6)
        out, summed = on("portable", partial(uc.add_rms_norm, x, residual, weight, 1e-6))
        assert torch.equal(summed, total)
        yield Call(
            ADD_RMS_NORM, (rows, size, DTYPES[dtype]), (1e-6,), (x, residual, weight),
            (out, summed),
            lambda y, sum, expected=expected, total=total: close(y, expected)
            and torch.equal(sum, total),
        )  # fmt: skip


def activations(dtype: torch.dtype) -> Iterator[Call]:
    extreme = torch.tensor([[-1e4, -100.0, 0.0, 100.0, 1.0, 1.0, 1.0, 1.0]])
    for x in [torch.randn(1, 2) * 4, torch.randn(3, 70) * 4, torch.randn(5, 6144) * 4, extreme]:
        rows, size = x.shape[0], x.shape[1] // 2
        expected = REFERENCE.silu_mul(x.to(dtype).float())
        compute = partial(uc.silu_mul, x.to(dtype))
        yield Call(
            SILU_MUL, (rows, size, DTYPES[dtype]), (), (x.to(dtype),),
            (on("portable", compute),), partial(close, expected=expected), (on("avx2", compute),),
        )  # fmt: skip


def rotations(dtype: torch.dtype) -> Iterator[Call]:
    for size, half in [(128, 64), (64, 16), (80, 40), (6, 2)]:
        qkv, angles = torch.randn(9, 8 * size).to(dtype), torch.randn(9, half)
        rope = (angles.cos(), angles.sin())
        for weights in ((None, None), (torch.rand(size), torch.rand(size))):
            norms = None if weights[0] is None else (*weights, 1e-6)
            query, key, _ = REFERENCE.rotary_heads(qkv.float(), 4, 2, rope, norms)
            compute = partial(uc.rotary_heads, qkv, 4, 2, rope, norms)
            yield Call(
                ROTARY_HEADS, (9, 4, 2, size, half, DTYPES[dtype]), (1e-6,), (qkv, *weights, *rope),
                on("portable", compute)[:2],
                lambda a, b, query=query, key=key: close(a, query) and close(b, key),
                () if norms else on("avx2", compute)[:2],
            )  # fmt: skip


@pytest.mark.parametrize("calls", [norms, activations, rotations])
@pytest.mark.parametrize("dtype", DTYPES)
def test_rows(
    calls: Callable[[torch.dtype], Iterator[Call]], dtype: torch.dtype, arm: Arm, tmp_path: Path
) -> None:
    arm.check(list(calls(dtype)), tmp_path)


# -- the choice of tokens -----------------------------------------------------------------------

KINDS: dict[str, Callable[[Tensor], Tensor]] = {
    "flat": lambda x: x,
    "peaked": lambda x: x * 8,
    "ties": lambda x: (x * 2).round(),
    "equal": torch.zeros_like,
    "masked": lambda x: x.masked_fill(torch.arange(x.shape[1]) % 3 == 1, float("-inf")),
}
FILTERS = [
    (0, 1.0, 0.0), (50, 0.8, 0.02), (5, 1.0, 0.0), (0, 0.9, 0.0), (0, 1.0, 0.1), (0, 1e-9, 0.0),
    (1, 1.0, 0.0), (10**6, 0.5, 0.0),
]  # fmt: skip
UNIFORMS = torch.tensor((0.0, 0.1, 0.37, 0.5, 0.83, 0.999999), dtype=torch.float64)


def fair(logits: Tensor, options: dict[str, list[float]]) -> Callable[[Tensor], bool]:
    """The tokens that the uniform numbers fall on, up to rounding."""
    probabilities = REFERENCE.filter_logits(logits, **options).double().softmax(-1)
    ends = probabilities.cumsum(-1)

    def holds(ids: Tensor) -> bool:
        chosen, end = (each.gather(1, ids[:, None])[:, 0] for each in (probabilities, ends))
        inside = (end - chosen - 1e-5 <= UNIFORMS) & (end + 1e-5 >= UNIFORMS)
        return bool((chosen > 0).all() and inside.all())

    return holds


@pytest.mark.parametrize("vocabulary", some([17, 3000], 1))
def test_draw(vocabulary: int, arm: Arm, tmp_path: Path) -> None:
    calls, rows = [], len(UNIFORMS)
    for kind in KINDS.values():
        logits = kind(torch.randn(rows, vocabulary))
        for filters in FILTERS:
            top_k, top_p, min_p = ([each] * rows for each in filters)
            options = {"top_k": top_k, "top_p": top_p, "min_p": min_p}
            given = (logits, UNIFORMS, torch.tensor(top_k, dtype=torch.int32),
                     torch.tensor(top_p), torch.tensor(min_p))  # fmt: skip
            here = on("portable", partial(uc.draw, logits, UNIFORMS, **options))
            calls.append(Call(DRAW, (rows, vocabulary), (), given, (here,), fair(logits, options)))
    arm.check(calls, tmp_path)


def test_argmax(arm: Arm, tmp_path: Path) -> None:
    calls = []
    for vocabulary in (1, 17, 1000, 50_000):
        for kind in KINDS.values():
            logits = kind(torch.randn(3, vocabulary))
            expected = logits.argmax(-1)
            calls.append(Call(ARGMAX, (3, vocabulary), (), (logits,), (expected,), expected.equal))
    arm.check(calls, tmp_path)
