"""Ops that change what they are given are seen; those that may, and NaN, are let be."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from unisono.conformance.expected.comparing import Mismatch
from unisono.conformance.overriding import overridden_ops, strangers
from unisono.conformance.watching import WatchedOps
from unisono.hardware import PortableOps


class Careless(PortableOps):
    def silu_mul(self, gate_up: Tensor) -> Tensor:
        gate_up[..., -1] = 0.0
        return super().silu_mul(gate_up)

    def rotary_heads(self, *args: Any, **kwargs: Any) -> Any:
        args[3][1].mul_(-1.0)
        return None

    def silu_mull(self, gate_up: Tensor) -> Tensor:
        return gate_up

    def _own(self) -> None:
        """Nobody else's concern."""


def test_a_changed_input_is_named() -> None:
    ops = WatchedOps(Careless())
    with pytest.raises(Mismatch, match=r"changes its input 1 \(gate_up\)"):
        ops.silu_mul(torch.ones(2, 8)[:, ::2])
    with pytest.raises(Mismatch, match="changes its input"):
        ops.rotary_heads(torch.ones(2, 8), 1, 1, (torch.ones(2), torch.ones(2)))
    ops.watching = False
    ops.silu_mul(torch.ones(2, 8))


def test_what_stays_as_it_was_is_fine() -> None:
    ops = WatchedOps(PortableOps())
    x = torch.tensor([[torch.nan, -0.0, torch.inf, 1.0]], dtype=torch.bfloat16)
    ops.silu_mul(x)
    ops.silu_mul(x[:0])
    kv = torch.zeros(2, 1, 4, 1, 2)
    ops.kv_write(kv, torch.ones(1, 1, 2), torch.ones(1, 1, 2), torch.tensor([2]))
    assert kv.sum() == 4


def test_own_ops_and_misspelt_ones() -> None:
    assert overridden_ops(Careless()) == ["rotary_heads", "silu_mul"]
    assert strangers(Careless()) == {"silu_mull": "silu_mul"}
    assert strangers(PortableOps()) == {}
