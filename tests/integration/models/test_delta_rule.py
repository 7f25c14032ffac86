"""The gated delta rule: its two forms against each other and against transformers'."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from transformers.models.qwen3_next.modeling_qwen3_next import (
    torch_chunk_gated_delta_rule,
    torch_recurrent_gated_delta_rule,
)

from unisono.hardware.ops.delta_rule import delta_chunks, delta_step, normed_heads

HEADS, KEY, VALUE = 3, 8, 5


def inputs(length: int, *, seed: int = 0) -> list[Tensor]:
    """A state to begin with, query and key of length sqrt(KEY), value, log_decay, beta."""
    torch.manual_seed(seed)
    state = torch.randn(HEADS, KEY, VALUE)
    return [
        state,
        *normed_heads(*torch.randn(2, length, HEADS, KEY), HEADS),
        torch.randn(length, HEADS, VALUE),
        -torch.rand(length, HEADS) * 2,
        torch.rand(length, HEADS),
    ]


def step_by_step(*given: Tensor) -> tuple[Tensor, Tensor]:
    state, *tokens = given
    state, outputs = state.unsqueeze(0), []
    for i in range(len(tokens[0])):
        out, state = delta_step(state, *(x[i : i + 1] for x in tokens))
        outputs.append(out)
    return torch.cat(outputs), state[0]


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("length", [1, 2, 63, 64, 65, 130])
def test_chunks_are_steps(length: int) -> None:
    given = inputs(length)
    for ours, theirs in zip(delta_chunks(*given), step_by_step(*given), strict=True):
        close(ours, theirs)


def test_equal_keys_do_not_blow_up() -> None:
    """The triangular system is worst where every token rewrites the same key and nothing decays."""
    state, query, key, value, decay, beta = inputs(128)
    given = query, key[:1].expand_as(key), value, torch.zeros_like(decay), torch.ones_like(beta)
    for ours, theirs in zip(delta_chunks(state, *given), step_by_step(state, *given), strict=True):
        close(ours, theirs)


@pytest.mark.parametrize("theirs", [torch_chunk_gated_delta_rule, torch_recurrent_gated_delta_rule])
def test_against_transformers(theirs: object) -> None:
    torch.manual_seed(1)
    query, key = torch.randn(2, 100, 2, KEY)
    value, decay, beta = torch.randn(100, 4, VALUE), -torch.rand(100, 4), torch.rand(100, 4)
    state = torch.randn(4, KEY, VALUE)
    out, last = theirs(  # type: ignore[operator]
        *(x.unsqueeze(0) for x in (query, key, value)),
        g=decay.unsqueeze(0),
        beta=beta.unsqueeze(0),
        initial_state=state.unsqueeze(0),
        output_final_state=True,
        use_qk_l2norm_in_kernel=True,
    )
    ours = delta_chunks(state, *normed_heads(query, key, 4), value, decay, beta)
    close(ours[0], out[0])
    close(ours[1], last[0])


def test_gradients_of_both_forms_agree() -> None:
    found = []
    for form in (delta_chunks, step_by_step):
        leaves = [x.requires_grad_() for x in inputs(70)]
        out, state = form(*leaves)
        (out.sin().sum() + state.cos().sum()).backward()
        found.append([leaf.grad for leaf in leaves])
    for ours, theirs in zip(*found, strict=True):
        assert ours is not None
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_a_row_is_the_same_bits_beside_others() -> None:
    _, *tokens = inputs(9)
    states = torch.randn(9, HEADS, KEY, VALUE)
    together, kept = delta_step(states, *tokens)
    for i in range(9):
        alone, own = delta_step(states[i : i + 1], *(x[i : i + 1] for x in tokens))
        assert torch.equal(alone[0], together[i])
        assert torch.equal(own[0], kept[i])
