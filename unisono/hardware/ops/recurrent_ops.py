"""Ops of layers that keep a state in place of keys and values, in plain torch.

Part of the op table (``portable.py``). A row goes on from the state that its block table names and
leaves one at the end of each block it reaches; ``step.plan`` is what ``plan_states`` made.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from unisono.hardware.ops.attention import AttentionStep
from unisono.hardware.ops.delta_rule import delta_chunks, delta_step, unit_heads
from unisono.hardware.ops.recurrence import Span, plan_stages
from unisono.hardware.ops.state_space import state_space_chunks, state_space_step

__all__ = ["RecurrentOps"]


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
        out = torch.empty_like(x)
        for stage in step.plan:
            if stage.singles is not None:
                tokens = stage.singles.tokens
                inputs = torch.cat((stage.singles.load(states), x[tokens].unsqueeze(1)), 1)
                out[tokens] = _convolved(inputs, weight, bias).squeeze(1)
                stage.singles.store(states, inputs[:, 1:])
            for span in stage.longer:
                tokens = slice(span.start, span.start + span.length)
                inputs = torch.cat((_state_before(states, span), x[tokens]))
                out[tokens] = _convolved(inputs, weight, bias)
                states[span.write] = inputs[span.length :]
        return out

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
        num_heads, scale = value.shape[1], query.shape[-1] ** -0.5
        inputs = (
            unit_heads(query, num_heads) * scale,
            unit_heads(key, num_heads),
            *(value.float(), log_decay, beta),
        )
        out = torch.empty_like(value)
        for stage in step.plan:
            if stage.singles is not None:
                tokens = stage.singles.tokens
                output, state = delta_step(stage.singles.load(states), *(x[tokens] for x in inputs))
                out[tokens] = output.to(out.dtype)
                stage.singles.store(states, state)
            for span in stage.longer:
                tokens = slice(span.start, span.start + span.length)
                output, state = delta_chunks(
                    _state_before(states, span), *(x[tokens] for x in inputs)
                )
                out[tokens] = output.to(out.dtype)
                states[span.write] = state
        return out

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
        for stage in step.plan:
            if stage.singles is not None:
                tokens = stage.singles.tokens
                out[tokens], state = state_space_step(
                    stage.singles.load(states), *(part[tokens] for part in inputs)
                )
                stage.singles.store(states, state)
            for span in stage.longer:
                tokens = slice(span.start, span.start + span.length)
                out[tokens], states[span.write] = state_space_chunks(
                    _state_before(states, span), *(part[tokens] for part in inputs)
                )
        return (out + wide * skip.unsqueeze(-1)).to(x.dtype)

    def gated_rms_norm(self, x: Tensor, gate: Tensor, weight: Tensor, eps: float) -> Tensor:
        """rms_norm(x) * silu(gate) over the last dimension, in float32 inside."""
        x32 = x.float()
        normed = x32 * torch.rsqrt(x32.pow(2).mean(-1, keepdim=True) + eps)
        return (weight.float() * normed * F.silu(gate.float())).to(x.dtype)


def _state_before(states: Tensor, span: Span) -> Tensor:
    return torch.zeros_like(states[0]) if span.read is None else states[span.read].clone()


def _convolved(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """inputs [..., W - 1 + n, C] -> [..., n, C], one product after the other: the same sum for a
    token wherever it stands."""
    width, count = weight.shape[1], inputs.shape[-2] - weight.shape[1] + 1
    wide, weights = inputs.float(), weight.float().unbind(1)
    total = wide.narrow(-2, 0, count) * weights[0]
    for i in range(1, width):
        total = total + wide.narrow(-2, i, count) * weights[i]
    return (total if bias is None else total + bias.float()).to(inputs.dtype)
