"""The recurrence of Mamba-2: its two forms against each other and against transformers'."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from transformers.models.granitemoehybrid.modeling_granitemoehybrid import (
    mamba2_chunk_scan,
)

from unisono.hardware.ops.state_space import state_space_chunks, state_space_step

HEADS, GROUPS, WIDTH, STATE = 4, 2, 5, 8


def inputs(length: int) -> list[Tensor]:
    """A state to begin with, x, log_decay, b and c, in float64."""
    torch.manual_seed(length)
    shapes = ((HEADS, STATE, WIDTH), (length, HEADS, WIDTH), (length, HEADS))
    shapes += ((length, GROUPS, STATE),) * 2
    state, x, log_decay, b, c = (torch.randn(shape).double() for shape in shapes)
    return [state, x, -log_decay.abs(), b, c]


def step_by_step(state: Tensor, *tokens: Tensor) -> tuple[Tensor, Tensor]:
    state, outputs = state.unsqueeze(0), []
    for i in range(len(tokens[0])):
        out, state = state_space_step(state, *(x[i : i + 1] for x in tokens))
        outputs.append(out)
    return torch.cat(outputs), state[0]


@pytest.mark.parametrize("length", [1, 2, 63, 64, 65, 130])
def test_chunks_are_steps(length: int) -> None:
    given = inputs(length)
    for ours, theirs in zip(state_space_chunks(*given), step_by_step(*given), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_against_transformers() -> None:
    torch.manual_seed(0)
    state, x, _, b, c = (each.float() for each in inputs(70))
    dt, a, skip = torch.rand(70, HEADS), -torch.rand(HEADS) - 0.1, torch.randn(HEADS)
    out, last = mamba2_chunk_scan(
        *(each.unsqueeze(0) for each in (x, dt)),
        a,
        *(each.unsqueeze(0) for each in (b, c)),
        chunk_size=32,
        D=skip,
        return_final_states=True,
        initial_states=state.mT.unsqueeze(0),
    )
    ours, left = state_space_chunks(state, x * dt.unsqueeze(-1), dt * a, b, c)
    torch.testing.assert_close(ours + skip[:, None] * x, out[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(left.mT, last[0], rtol=1e-4, atol=1e-4)


def test_gradients_of_both_forms_agree() -> None:
    found = []
    for form in (state_space_chunks, step_by_step):
        leaves = [x.requires_grad_() for x in inputs(70)]
        out, state = form(*leaves)
        (out.sin().sum() + state.cos().sum()).backward()
        found.append([leaf.grad for leaf in leaves])
    for ours, theirs in zip(*found, strict=True):
        assert ours is not None
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-8)


def test_a_row_is_the_same_bits_beside_others() -> None:
    _, *tokens = (each.float() for each in inputs(9))
    states = torch.randn(9, HEADS, STATE, WIDTH)
    together, kept = state_space_step(states, *tokens)
    for i in range(9):
        alone, own = state_space_step(states[i : i + 1], *(x[i : i + 1] for x in tokens))
        assert torch.equal(alone[0], together[i])
        assert torch.equal(own[0], kept[i])
