"""The activations of the op table, by name."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def _gelu_tanh(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


def _relu_squared(x: Tensor) -> Tensor:
    return F.relu(x).square()


def clamped_swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """g sigmoid(1.702 g) (u + 1), g at most 7, u from -7 to 7; in float32 inside (gpt-oss)."""
    gate32, up32 = gate.float().clamp(max=7.0), up.float().clamp(-7.0, 7.0)
    return (gate32 * torch.sigmoid(1.702 * gate32) * (up32 + 1.0)).to(gate.dtype)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_tanh": _gelu_tanh,
    "relu": torch.relu,
    "relu2": _relu_squared,
}
"""x sigmoid(x); x Phi(x), and its approximation by tanh (Hendrycks and Gimpel, 2016); max(x, 0),
and its square (So et al., 2021)."""
