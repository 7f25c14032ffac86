"""Ops of layers that keep a state in place of keys and values, in plain torch.

Part of the op table (``portable.py``). A row goes on from the state that its block table names and
leaves one at the end of each block it reaches; ``step.plan`` is what ``plan_states`` made.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from unisono.hardware.ops.attention import AttentionStep
from unisono.hardware.ops.delta_rule import delta_chunks, delta_step, normed_heads
from unisono.hardware.ops.recurrence import Span, Stage, plan_stages
from unisono.hardware.ops.state_space import state_space_chunks, state_space_step


class RecurrentOps:
    """States are read and written by block: what a step costs does not grow with the cache."""

    def plan_states(self, step: AttentionStep, states: Tensor) -> Any:
        """Anything all layers of a group of states can share in this step; kept in ``step.plan``.
        ``states`` is one tensor of them, on the device."""
        return plan_stages(step, states.device)

    def causal_conv(
        self,
        x: Tensor,
        weight: Tensor,
        states: Tensor,
        step: AttentionStep,
        bias: Tensor | None = None,
    ) -> Tensor:
        """x [T, C] convolved with ``weight`` [C, W], channel by channel, each token with the W - 1
        before it in its row -> [T, C], summed in float32.

        states [blocks, W - 1, C]: the last inputs; zeros stand before a row's beginning.
        """

        def step_on(before: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
            output, after = chunk_on(before, own.unsqueeze(1))
            return output.squeeze(1), after

        def chunk_on(before: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
            inputs = torch.cat((before, own), -2)
            return _convolved(inputs, weight, bias), inputs.narrow(-2, own.shape[-2], width)

        width = weight.shape[1] - 1
        return _through(step.plan, states, torch.empty_like(x), (x,), step_on, chunk_on)

    def gated_delta_rule(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        log_decay: Tensor,
        beta: Tensor,
        states: Tensor,
        step: AttentionStep,
    ) -> Tensor:
        """The gated delta rule (Yang et al., 2024): query and key [T, Hk, K], whose length does not
        count, value [T, Hv, V], log_decay (not above 0) and beta float32 [T, Hv] -> [T, Hv, V].

        Each key head serves Hv / Hk value heads; queries are scaled by K^-0.5. states float32
        [blocks, Hv, K, V]; zeros stand before a row's beginning. See ``delta_rule.py``.
        """
        heads = normed_heads(query, key, value.shape[1])
        inputs, out = (*heads, value, log_decay, beta), torch.empty_like(value)
        return _through(step.plan, states, out, inputs, delta_step, delta_chunks)

    def state_space(
        self,
        x: Tensor,
        dt: Tensor,
        a: Tensor,
        b: Tensor,
        c: Tensor,
        skip: Tensor,
        states: Tensor,
        step: AttentionStep,
    ) -> Tensor:
        """The recurrence of Mamba-2 (Dao and Gu, 2024): x [T, H, P], dt float32 [T, H], a (below 0)
        and skip float32 [H], b and c [T, G, N] -> [T, H, P], with skip * x added.

        Each group serves H / G heads. states float32 [blocks, H, N, P]; zeros stand before a row's
        beginning. See ``state_space.py``.
        """
        wide = x.float()
        inputs = wide * dt.unsqueeze(-1), dt * a, b.float(), c.float()
        out = torch.empty_like(wide)
        out = _through(step.plan, states, out, inputs, state_space_step, state_space_chunks)
        return torch.addcmul(out, wide, skip.unsqueeze(-1)).to(x.dtype)

    def gated_rms_norm(self, x: Tensor, gate: Tensor, weight: Tensor, eps: float) -> Tensor:
        """rms_norm(x) * silu(gate) over the last dimension, in float32 inside."""
        normed = F.rms_norm(x.float(), (x.shape[-1],), weight.float(), eps)
        return (normed * F.silu(gate.float())).to(x.dtype)


def _through(
    plan: list[Stage],
    states: Tensor,
    out: Tensor,
    inputs: tuple[Tensor, ...],
    step_on: Callable[..., tuple[Tensor, Tensor]],
    chunk_on: Callable[..., tuple[Tensor, Tensor]],
) -> Tensor:
    """``out`` [T, ...] with what the tokens give, states read and left on the way.

    Args:
        step_on: from states [R, ...] and one token each of ``inputs``, [R, ...], to what they give
            and the states behind them.
        chunk_on: the same from one state [...] and the tokens of a span [n, ...].
    """
    for stage in plan:
        if stage.singles is not None:
            own = (stage.singles.take(x) for x in inputs)
            given, after = step_on(stage.singles.load(states), *own)
            out = stage.singles.put(out, given)
            stage.singles.store(states, after)
        for span in stage.longer:
            tokens = slice(span.start, span.start + span.length)
            given, after = chunk_on(_state_before(states, span), *(x[tokens] for x in inputs))
            out[tokens], states[span.write] = given.to(out.dtype), after
    return out


def _state_before(states: Tensor, span: Span) -> Tensor:
    return torch.zeros_like(states[0]) if span.read is None else states[span.read].clone()


def _convolved(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """inputs [..., W - 1 + n, C] -> [..., n, C], one product after the other: the same sum for a
    token wherever it stands."""
    width, count = weight.shape[1], inputs.shape[-2] - weight.shape[1] + 1
    wide, weights = inputs.float(), weight.float().unbind(1)
    first = wide.narrow(-2, 0, count)
    total = first * weights[0] if bias is None else torch.addcmul(bias.float(), first, weights[0])
    for i in range(1, width):
        total = torch.addcmul(total, wide.narrow(-2, i, count), weights[i])
    return total.to(inputs.dtype)
