"""Attention over latents: whichever way a row is computed, the result is the same."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from unisono.conformance.paging import make_step
from unisono.hardware import AttentionStep, PortableOps
from unisono.hardware.ops import latent_attention as module

RANK, ROTATED, KEY, VALUE, HEADS = 32, 8, 16, 12, 4
ROWS = ((1, 1), (1, 19), (7, 7), (3, 12), (16, 33), (1, 40))
OPS = PortableOps()


def made() -> tuple[torch.Tensor, torch.Tensor, tuple[torch.Tensor, torch.Tensor], AttentionStep]:
    """query, cache, up, step."""
    torch.manual_seed(0)
    step, total = make_step(ROWS, block_size=4)
    cache = torch.randn(total, 4, RANK + ROTATED)
    step.plan = OPS.plan_latent_attention(step, cache)
    query = torch.randn(sum(step.query_lens), HEADS, KEY + ROTATED)
    keys, values = (torch.randn(HEADS, size, RANK) * RANK**-0.5 for size in (KEY, VALUE))
    return query, cache, (keys, values), step


def selection(step: AttentionStep, count: int) -> torch.Tensor:
    chosen = torch.full((sum(step.query_lens), count), -1)
    at = 0
    for num_queries, context in zip(step.query_lens, step.context_lens, strict=True):
        for own in range(context - num_queries, context):
            picked = torch.randperm(own + 1)[:count]
            chosen[at, : len(picked)] = picked
            at += 1
    return chosen


@pytest.mark.parametrize("count", [None, 3, 20, 64])
@pytest.mark.parametrize("at_once", [1, 1 << 25])
def test_both_forms_agree(monkeypatch: pytest.MonkeyPatch, count: int | None, at_once: int) -> None:
    query, cache, up, step = made()
    selected = None if count is None else selection(step, count)
    monkeypatch.setattr(module, "_NUMBERS_AT_ONCE", at_once)
    results = []
    for absorbs in (True, False):
        monkeypatch.setattr(module._Sizes, "absorbs", lambda *args, is_so=absorbs: is_so)
        results.append(OPS.latent_attention(query, cache, up, step, scale=0.3, selected=selected))
    torch.testing.assert_close(results[0], results[1], rtol=1e-5, atol=1e-5)


def test_a_row_alone_is_the_row_in_the_batch() -> None:
    query, cache, up, step = made()
    together = OPS.latent_attention(query, cache, up, step, scale=0.3).split(step.query_lens)
    queries = query.split(step.query_lens)
    for row, expected in enumerate(together):
        alone = replace(
            step,
            query_lens=step.query_lens[row : row + 1],
            context_lens=step.context_lens[row : row + 1],
            block_tables=step.block_tables[row : row + 1],
        )
        alone.plan = OPS.plan_latent_attention(alone, cache)
        out = OPS.latent_attention(queries[row], cache, up, alone, scale=0.3)
        torch.testing.assert_close(out, expected, rtol=1e-6, atol=1e-6)


def test_the_form_is_the_one_with_fewer_products() -> None:
    v3 = module._Sizes(512, 64, 128, 128)
    assert v3.absorbs(1, 10_000, None)
    assert v3.absorbs(170, 1_000_000, None)
    assert not v3.absorbs(172, 1_000_000, None)
    assert not v3.absorbs(512, 512, None)
    assert v3.absorbs(512, 100_000, 2048)


def test_selection_does_not_depend_on_chunks() -> None:
    torch.manual_seed(1)
    whole, total = make_step(((40, 40),), block_size=4)
    keys = torch.randn(total, 4, 8)
    query, weights = torch.randn(40, 3, 8), torch.randn(40, 3)
    whole.plan = OPS.plan_latent_attention(whole, keys)
    expected = OPS.select_keys(query, weights, keys, whole, count=6).sort(-1).values
    for start, end in ((0, 5), (5, 33), (33, 40)):
        part = replace(whole, query_lens=[end - start], context_lens=[end])
        part.plan = OPS.plan_latent_attention(part, keys)
        chosen = OPS.select_keys(query[start:end], weights[start:end], keys, part, count=6)
        assert torch.equal(chosen.sort(-1).values, expected[start:end])


def test_gradients_reach_query_and_projection() -> None:
    query, cache, up, step = made()
    query.requires_grad_()
    for part in up:
        part.requires_grad_()
    OPS.latent_attention(query, cache, up, step, scale=0.3).square().sum().backward()
    for tensor in (query, *up):
        assert tensor.grad is not None
        assert bool((tensor.grad != 0).any())
