"""The small model by its definition, in float64, and how far rounding may carry its results.

Knows nothing of the engine, its layers or its cache. The bound is propagated by Monte Carlo
arithmetic (Parker, Pierce and Eggert, Monte Carlo Arithmetic: How to Gamble with Floating Point
and Win, Computing in Science and Engineering 2, 2000): every result of every op is disturbed by a
random amount as large as the rounding of that op may be, and the spread of the logits over several
such runs is their error. ``LAMBDA`` times that spread is the bound. Gradients are disturbed on
their way back as well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unisono.conformance.expected.bounds import LAMBDA, U32, unit_roundoff
from unisono.conformance.expected.comparing import Expected
from unisono.conformance.expected.math_apis import function_error
from unisono.conformance.tiny_model import Shape

_RUNS = 8

Disturb = Callable[[Tensor, Tensor], Tensor]
"""(values, amplitude of each) -> values."""


class Noise(torch.autograd.Function):
    """Values and their gradients, each disturbed within their amplitude."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, amplitude: Tensor, generator: torch.Generator) -> Tensor:
        ctx.generator = generator
        return x + amplitude * _within_one(x, generator)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        grad = grads[0]
        size = grad.abs() + grad.square().mean().sqrt()
        amplitude = 16 * U32 * size  # sums of some hundred terms, sqrt of their number
        return grad + amplitude * _within_one(grad, ctx.generator), None, None


def _within_one(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.rand(like.shape, generator=generator, dtype=like.dtype) * 2 - 1


def _pooled(squares: Tensor) -> Tensor:
    """The mean over the last dimension: rows differ, as those of unused tokens do."""
    return squares.mean(-1, keepdim=True) if squares.dim() else squares


def _undisturbed(values: Tensor, amplitude: Tensor) -> Tensor:
    return values


@dataclass(frozen=True, slots=True)
class Oracle:
    """``weights`` are float64, rounded to ``dtype`` before, as a device has them."""

    shape: Shape
    weights: dict[str, Tensor]
    dtype: torch.dtype

    @classmethod
    def of(cls, shape: Shape, weights: dict[str, Tensor], dtype: torch.dtype) -> Oracle:
        return cls(shape, {name: w.to(dtype).double() for name, w in weights.items()}, dtype)

    def logits(self, token_ids: list[int]) -> Tensor:
        """[T, V], without any rounding."""
        return self._forward(torch.tensor(token_ids), self.weights, _undisturbed)

    def expected(self, token_ids: list[int]) -> Expected:
        """Logits [T, V] with their bound, one for each position."""
        exact = self.logits(token_ids)
        spread = torch.zeros(len(token_ids), 1, dtype=torch.float64)
        for run in range(_RUNS):
            disturbed = self._forward(torch.tensor(token_ids), self.weights, self._disturb(run))
            spread += (disturbed - exact).square().mean(-1, keepdim=True)
        bound = LAMBDA * (spread / _RUNS).sqrt()
        return Expected(exact, bound.expand_as(exact))

    def _disturb(self, run: int) -> Disturb:
        generator = torch.Generator().manual_seed(1000 + run)

        def disturb(values: Tensor, amplitude: Tensor) -> Tensor:
            disturbed: Tensor = Noise.apply(values, amplitude, generator)  # type: ignore[no-untyped-call]
            return disturbed

        return disturb

    # -- training ---------------------------------------------------------------------------

    def gradients(self, token_ids: list[int]) -> dict[str, Expected]:
        """Gradients of the mean cross-entropy of next tokens, by weight; ``loss`` is among them."""
        exact = self._backward(token_ids, _undisturbed)
        spread = {name: torch.zeros_like(_pooled(values)) for name, values in exact.items()}
        for run in range(_RUNS):
            disturbed = self._backward(token_ids, self._disturb(run))
            for name in exact:
                spread[name] += _pooled((disturbed[name] - exact[name]).square())
        return {
            name: Expected(values, (LAMBDA * (spread[name] / _RUNS).sqrt()).expand_as(values))
            for name, values in exact.items()
        }

    def _backward(self, token_ids: list[int], disturb: Disturb) -> dict[str, Tensor]:
        leaves = {name: w.clone().requires_grad_() for name, w in self.weights.items()}
        ids = torch.tensor(token_ids)
        none = torch.zeros((), dtype=torch.float64)
        seen = {name: disturb(w, none) for name, w in leaves.items()}
        logits = self._forward(ids, seen, disturb)
        loss = torch.nn.functional.cross_entropy(logits[:-1], ids[1:])
        loss.backward()  # type: ignore[no-untyped-call]
        grads = {name: w.grad for name, w in leaves.items() if w.grad is not None}
        return {"loss": loss.detach(), **grads}

    # -- the model --------------------------------------------------------------------------

    def _forward(self, ids: Tensor, weights: dict[str, Tensor], disturb: Disturb) -> Tensor:
        shape, u = self.shape, unit_roundoff(self.dtype)

        def linear(x: Tensor, name: str) -> Tensor:
            w = weights[name]
            products = (x.square() @ w.square().T).sqrt()
            y = x @ w.T
            return disturb(y, (u * y.abs() + U32 * x.shape[-1] ** 0.5 * products).detach())

        def norm(x: Tensor, name: str) -> Tensor:
            scale = (x.square().mean(-1, keepdim=True) + shape.eps).rsqrt()
            y = x * scale * weights[name]
            return disturb(y, ((2 * u + 8 * U32) * y.abs()).detach())

        def add(x: Tensor, y: Tensor) -> Tensor:
            return disturb(x + y, (u * (x + y).abs()).detach())

        x = weights["model.embed_tokens.weight"][ids]
        angles = self._angles(len(ids))
        for layer in range(shape.num_layers):
            at = f"model.layers.{layer}"
            normed = norm(x, f"{at}.input_layernorm.weight")
            heads = [
                linear(normed, f"{at}.self_attn.{part}_proj.weight").view(
                    len(ids), -1, shape.head_dim
                )
                for part in "qkv"
            ]
            if shape.qk_norm:
                heads[0] = norm(heads[0], f"{at}.self_attn.q_norm.weight")
                heads[1] = norm(heads[1], f"{at}.self_attn.k_norm.weight")
            query, key = (self._rotate(part, angles, disturb) for part in heads[:2])
            mixed = self._attend(query, key, heads[2], disturb)
            x = add(x, linear(mixed.flatten(1), f"{at}.self_attn.o_proj.weight"))
            normed = norm(x, f"{at}.post_attention_layernorm.weight")
            gate, up = (linear(normed, f"{at}.mlp.{part}_proj.weight") for part in ("gate", "up"))
            hidden = torch.nn.functional.silu(gate) * up
            relative = 2 * u + 2 * function_error("exp", gate.detach())
            hidden = disturb(hidden, (relative * hidden.abs()).detach())
            x = add(x, linear(hidden, f"{at}.mlp.down_proj.weight"))
        head = "model.embed_tokens.weight" if shape.tied else "lm_head.weight"
        return linear(norm(x, "model.norm.weight"), head)

    def _angles(self, count: int) -> Tensor:
        """Rotation angles as the model computes them: frequencies and products in float32."""
        size = self.shape.head_dim
        exponents = torch.arange(0, size, 2).float() / size
        frequencies = 1.0 / (self.shape.rope_theta**exponents)
        return (torch.arange(count).float().unsqueeze(1) * frequencies).double()

    def _rotate(self, x: Tensor, angles: Tensor, disturb: Disturb) -> Tensor:
        cos, sin = angles.cos().unsqueeze(1), angles.sin().unsqueeze(1)
        first, second = x.chunk(2, -1)
        y = torch.cat((first * cos - second * sin, second * cos + first * sin), -1)
        relative = unit_roundoff(self.dtype) * y.abs()
        sizes = torch.cat((first.abs() + second.abs(),) * 2, -1)
        return disturb(y, (relative + 8 * U32 * sizes).detach())

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, disturb: Disturb) -> Tensor:
        groups, u = self.shape.num_heads // self.shape.num_kv_heads, unit_roundoff(self.dtype)
        q = query.transpose(0, 1)
        k, v = (x.repeat_interleave(groups, 1).transpose(0, 1) for x in (key, value))
        scores = q @ k.transpose(1, 2) * self.shape.head_dim**-0.5
        products = (q.square() @ k.square().transpose(1, 2)).sqrt()
        rounding = 2 * U32 * scores.abs() + U32 * products
        scores = disturb(scores, rounding.detach())
        positions = torch.arange(len(query))
        hidden = positions.unsqueeze(1) < positions
        if self.shape.window is not None:
            hidden = hidden | (positions.unsqueeze(1) - positions >= self.shape.window)
        weights = torch.softmax(scores.masked_fill(hidden, float("-inf")), -1)
        weights = disturb(weights, ((u + 16 * U32) * weights).detach())
        out = (weights @ v).transpose(0, 1)
        sizes = (weights @ v.abs()).transpose(0, 1)
        return disturb(out, (u * out.abs() + 8 * U32 * sizes).detach())
