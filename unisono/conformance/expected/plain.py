"""Expected results of the ops without a cache: float64 on the host, with a bound for each entry."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from unisono.conformance.expected.bounds import (
    U32,
    gamma,
    sum_error,
    underflow,
    unit_roundoff,
)
from unisono.conformance.expected.comparing import Expected
from unisono.conformance.expected.math_apis import absolute_error, function_error
from unisono.hardware.ops.activations import ACTIVATIONS


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Expected:
    """x W^T + b: one float32 sum of K products an entry, rounded to the dtype of x."""
    dtype, terms = x.dtype, x.shape[-1] + 1
    x64, weight64 = x.double(), weight.double()
    values = x64 @ weight64.T
    magnitudes = x64.abs() @ weight64.abs().T
    bound = unit_roundoff(dtype) * values.abs()
    if bias is not None:  # added to the float32 sum, or to the rounded one
        values, magnitudes = values + bias.double(), magnitudes + bias.double().abs()
        bound = bound + unit_roundoff(dtype) * values.abs()
    exact = _sums_exactly(x64, weight64, magnitudes)
    bound = bound + (0.0 if exact else sum_error(terms) * (1 + unit_roundoff(dtype))) * magnitudes
    if exact and dtype == torch.float32:
        bound = torch.zeros_like(bound)
    return Expected(values, bound + (0.0 if exact else underflow(dtype)))


def quantized_linear(x: Tensor, values: Tensor, group_size: int) -> Expected:
    """x W^T for the values of a quantised W [N, K]: beside the sum, x may be rounded to 8 bits by
    the largest of each group of inputs, and the values to the dtype of x."""
    exact = linear(x, values)
    rows, magnitudes = x.double().abs(), values.double().abs()
    missing = -rows.shape[-1] % group_size
    groups = torch.unflatten(F.pad(rows, (0, missing)), -1, (-1, group_size))
    halves = (groups.amax(-1, keepdim=True) / 254).expand_as(groups).flatten(-2)
    moved = halves[..., : rows.shape[-1]] * 1.001 + unit_roundoff(x.dtype) * rows
    return Expected(exact.values, exact.bound + moved @ magnitudes.T)


def _sums_exactly(x: Tensor, weight: Tensor, magnitudes: Tensor) -> bool:
    """Returns whether every partial sum, in any order, is a float32 number: integers below 2^24."""
    if not magnitudes.numel() or not magnitudes.isfinite().all():
        return False
    whole = all(bool((part == part.round()).all()) for part in (x, weight))
    return whole and float(magnitudes.max()) < 2**24


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Expected:
    """The relative error of the root is half that of the sum of squares, all of them positive:
    n + 3 roundings; then rsqrt, two products, and two roundings to the dtype."""
    x64 = x.double()
    scale = (x64.pow(2).mean(-1, keepdim=True) + eps).rsqrt()
    values = x64 * scale * weight.double()
    relative = sum_error(x.shape[-1] + 3) / 2 + function_error("rsqrt") + gamma(3, U32)
    relative += gamma(2, unit_roundoff(x.dtype))
    return Expected(values, relative * values.abs() + 2 * underflow(x.dtype))


def add_rms_norm(
    x: Tensor, residual: Tensor | None, weight: Tensor, eps: float
) -> tuple[Expected, Expected]:
    """The sum is rounded once; the norm is that of the rounded or of the exact sum."""
    if residual is None:
        return rms_norm(x, weight, eps), Expected(x.double(), torch.zeros(x.shape).double())
    total = x.double() + residual.double()
    u = unit_roundoff(x.dtype)
    values, bound = rms_norm(total, weight, eps)
    normed = rms_norm(total.to(x.dtype), weight, eps)
    # A sum that is off by u, entry by entry, moves the norm by at most 2 u.
    return (
        Expected(values, normed.bound + 2.5 * u * values.abs() + 0 * bound),
        Expected(total, u * total.abs() + underflow(x.dtype)),
    )


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor | None, eps: float) -> Expected:
    """The mean is off by that of a sum of n terms, and with it each difference from it; the
    variance by twice that, weighted by the differences, and by its own sum of n squares; its root
    by half; then rsqrt, two products, the sum with the bias, and two roundings to the dtype."""
    x64, weight64 = x.double(), weight.double()
    mean = x64.mean(-1, keepdim=True)
    centred = x64 - mean
    variance = centred.square().mean(-1, keepdim=True) + eps
    values = centred * variance.rsqrt() * weight64
    off = sum_error(x.shape[-1] + 1) * x64.abs().mean(-1, keepdim=True) + U32 * centred.abs()
    of_variance = 2 * (centred.abs() * off).mean(-1, keepdim=True) / variance
    relative = (of_variance + sum_error(x.shape[-1] + 3)) / 2 + function_error("rsqrt")
    u = unit_roundoff(x.dtype)
    bound = (relative + gamma(4, U32) + gamma(2, u)) * values.abs()
    bound = bound + off * variance.rsqrt() * weight64.abs()
    values = values if bias is None else values + bias.double()
    return Expected(values, bound + (u + U32) * values.abs() + 2 * underflow(x.dtype))


def _act_errors(kind: str, x: Tensor) -> tuple[float | Tensor, float]:
    """Error bounds of an activation in float32: relative to the result, and to the argument, where
    1 + erf or 1 + tanh cancels; each of them may be off by 16 ulps of 1 (OpenCL C 3.0, section
    7.4), tanh by more where the device's interface says so."""
    if kind == "silu":
        return function_error("exp", x) + function_error("divide") + gamma(3, U32), 0.0
    return {
        "gelu": (gamma(3, U32), 16 * U32),
        "gelu_tanh": (gamma(6, U32), max(16 * U32, function_error("tanh"))),
        "relu": (0.0, 0.0),
        "relu2": (gamma(1, U32), 0.0),
    }[kind]


def act(x: Tensor, kind: str) -> Expected:
    """The activation in float32, rounded to the dtype."""
    relative, absolute = _act_errors(kind, x)
    x64 = x.double()
    values = ACTIVATIONS[kind](x64)
    bound = (relative + unit_roundoff(x.dtype)) * values.abs() + absolute * x64.abs()
    small = 90 * torch.finfo(torch.float32).smallest_normal + underflow(x.dtype)
    return Expected(values, bound + (0.0 if kind == "relu" else small))


def act_mul(gate_up: Tensor, kind: str) -> Expected:
    """One more product, and one more rounding to the dtype."""
    if kind == "clamped_swiglu":
        return clamped_swiglu(gate_up)
    gate, up = gate_up.chunk(2, -1)
    values, bound = act(gate, kind)
    up64 = up.double()
    relative = unit_roundoff(gate_up.dtype) + U32
    product = values * up64
    bound = bound * up64.abs() * (1 + relative) + relative * product.abs()
    return Expected(product, bound + underflow(gate_up.dtype))


def clamped_swiglu(gate_up: Tensor) -> Expected:
    """All in float32, and one rounding to the dtype. The argument of exp is rounded once, which
    moves exp by u times that argument."""
    gate, up = gate_up.double().chunk(2, -1)
    gate, up = gate.clamp(max=7.0), up.clamp(-7.0, 7.0)
    values = gate * torch.sigmoid(1.702 * gate) * (up + 1.0)
    relative = function_error("exp", 1.702 * gate) + function_error("divide") + gamma(5, U32)
    shares = relative + 2 * U32 * 1.702 * gate.abs() + unit_roundoff(gate_up.dtype)
    small = 90 * torch.finfo(torch.float32).smallest_normal + underflow(gate_up.dtype)
    return Expected(values, shares * values.abs() + small * 9)


def silu_mul(gate_up: Tensor) -> Expected:
    """g / (1 + exp(-g)) * u: exp and division as the device's interface allows them, two more
    roundings, and two to the dtype; where exp(-g) overflows, nothing remains."""
    gate, up = gate_up.double().chunk(2, -1)
    silu = gate * torch.sigmoid(gate)
    values = silu * up
    relative = function_error("exp", gate) + function_error("divide") + gamma(4, U32)
    relative += gamma(2, unit_roundoff(gate_up.dtype))
    small = 90 * torch.finfo(torch.float32).smallest_normal + underflow(gate_up.dtype)
    bound = relative * values.abs() + small * (1 + up.abs())
    return Expected(values, bound)


def rope(x: Tensor, cos: Tensor, sin: Tensor) -> Expected:
    """Two products and their sum in float32, rounded to the dtype; the rest is untouched."""
    half = cos.shape[-1]
    x64, cos64, sin64 = x.double(), cos.double().unsqueeze(1), sin.double().unsqueeze(1)
    first, second, rest = x64[..., :half], x64[..., half : 2 * half], x64[..., 2 * half :]
    values = torch.cat((first * cos64 - second * sin64, second * cos64 + first * sin64, rest), -1)
    turned = (
        (first * cos64).abs() + (second * sin64).abs(),
        (second * cos64).abs() + (first * sin64).abs(),
    )
    u = unit_roundoff(x.dtype)
    magnitudes = torch.cat((*turned, torch.zeros_like(rest)), -1)
    rounded = torch.cat((values[..., : 2 * half].abs(), torch.zeros_like(rest)), -1)
    bound = gamma(2, U32) * magnitudes * (1 + u) + u * rounded
    return Expected(values, bound + (magnitudes > 0) * underflow(x.dtype))


def error_of_exponentials(x: Tensor) -> Tensor:
    """Relative, of the sum of exp(x - max) over the last dimension, from that of each term."""
    x64 = x.double()
    depth = x64.amax(-1, keepdim=True) - x64
    shares = torch.softmax(x64, -1).nan_to_num(0.0)
    return (shares * function_error("exp", depth)).sum(-1, keepdim=True)


def softmax(x: Tensor, *, log: bool = False) -> Expected:
    """Over the last dimension. exp(x - max): the difference is rounded once, which moves exp by
    u |x - max|; then exp, the sum of n positive terms, and a division (or log and subtraction)."""
    x64 = x.double()
    depth = (x64.amax(-1, keepdim=True) - x64).clamp(max=1e4)
    relative = U32 * depth + function_error("exp", depth) + function_error("divide")
    relative = relative + error_of_exponentials(x) + sum_error(x.shape[-1]) + gamma(2, U32)
    u = unit_roundoff(x.dtype)
    if log:
        values = torch.log_softmax(x64, -1)
        slack = error_of_exponentials(x) + sum_error(x.shape[-1]) + absolute_error("log")
        slack = slack + function_error("log") * 12 + U32 * values.abs() * 3
        return Expected(values, slack + u * values.abs())
    values = torch.softmax(x64, -1)
    return Expected(values, (relative + u) * values + underflow(torch.float32) + underflow(x.dtype))
