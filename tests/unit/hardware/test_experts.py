"""Routing, and that a token's result does not depend on the others of the step."""

from __future__ import annotations

import pytest
import torch

from unisono.hardware import PortableOps
from unisono.hardware.ops import experts as module
from unisono.hardware.ops.experts import Expert, Routing, StackedExperts

OPS = PortableOps()


def experts(count: int, hidden: int, width: int, dtype: torch.dtype) -> list[Expert]:
    generator = torch.Generator().manual_seed(0)
    return [
        Expert(
            (torch.randn(2 * width, hidden, generator=generator) / 8).to(dtype),
            (torch.randn(hidden, width, generator=generator) / 4).to(dtype),
        )
        for _ in range(count)
    ]


def test_softmax_of_the_chosen_is_the_normalized_one() -> None:
    logits = torch.randn(9, 32)
    ids, weights = OPS.moe_route(logits, Routing(num_chosen=4, normalized=True))
    top = logits.topk(4)
    assert torch.equal(ids, top.indices)
    assert torch.allclose(weights, top.values.softmax(-1))


def test_a_correction_moves_the_choice_and_not_the_weights() -> None:
    logits, correction = torch.tensor([[2.0, 1.0, 0.0, -1.0]]), torch.tensor([0.0, 0.0, 0.0, 1.0])
    ids, weights = OPS.moe_route(logits, Routing(num_chosen=1, score="sigmoid"), correction)
    assert ids.tolist() == [[3]]
    assert weights.item() == pytest.approx(torch.sigmoid(torch.tensor(-1.0)).item())


def test_experts_come_from_chosen_groups_alone() -> None:
    logits = torch.tensor([[5.0, -5.0, 2.0, 2.1, 1.0, 1.1]])
    routing = Routing(num_chosen=2, score="sigmoid", num_groups=3, num_chosen_groups=1)
    assert OPS.moe_route(logits, routing)[0].tolist() == [[3, 2]]


def test_saturated_scores_keep_their_order() -> None:
    logits = torch.tensor([[40.0, 60.0, 50.0]])
    assert OPS.moe_route(logits, Routing(num_chosen=1, score="sigmoid"))[0].tolist() == [[1]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_token_alone_and_among_others(dtype: torch.dtype) -> None:
    class ByRow(PortableOps):
        """Products that do not depend on the batch, so that nothing else may."""

        def linear(self, x, weight, bias=None):  # type: ignore[no-untyped-def]
            return torch.cat([super(ByRow, self).linear(row, weight, bias) for row in x.split(1)])

    ops, held = ByRow(), experts(16, 48, 24, dtype)
    x, logits = torch.randn(21, 48).to(dtype), torch.randn(21, 16)
    ids, weights = ops.moe_route(logits, Routing(num_chosen=5, normalized=True))
    together = ops.moe_experts(x, ids, weights, held)
    for i in range(len(x)):
        one = slice(i, i + 1)
        own_ids, own_weights = ops.moe_route(logits[one], Routing(num_chosen=5, normalized=True))
        assert torch.equal(own_ids, ids[one])
        assert torch.equal(own_weights, weights[one])
        assert torch.equal(ops.moe_experts(x[one], own_ids, own_weights, held), together[one])


@pytest.mark.parametrize("num_tokens", [1, 3, 40, 300])
@pytest.mark.parametrize("at_once", [1, 3000, 1 << 26])
@pytest.mark.parametrize("biased", [False, True])
def test_stacked_experts_give_what_they_give_alone(
    monkeypatch: pytest.MonkeyPatch, num_tokens: int, at_once: int, biased: bool
) -> None:
    monkeypatch.setattr(module, "_AT_ONCE", at_once)
    held = experts(16, 48, 24, torch.float32)
    biases = [(torch.randn(48), torch.randn(48)) if biased else (None, None) for _ in held]
    held = [Expert(one.gate_up, one.down, *both) for one, both in zip(held, biases, strict=True)]
    parts = [None if part[0] is None else torch.stack(part) for part in zip(*held, strict=True)]
    stacked = StackedExperts(*parts)  # type: ignore[arg-type]
    x, logits = torch.randn(num_tokens, 48), torch.randn(num_tokens, 16)
    ids, weights = OPS.moe_route(logits, Routing(num_chosen=3))
    expected = OPS.moe_experts(x, ids, weights, held)
    with torch.inference_mode():
        torch.testing.assert_close(OPS.moe_experts(x, ids, weights, stacked), expected)
    assert torch.equal(stacked[3].down, held[3].down)


def test_no_tokens() -> None:
    held = experts(4, 48, 24, torch.float32)
    ids, weights = OPS.moe_route(torch.empty(0, 4), Routing(num_chosen=2))
    assert OPS.moe_experts(torch.empty(0, 48), ids, weights, held).shape == (0, 48)


def test_it_is_differentiable() -> None:
    held = experts(4, 48, 24, torch.float32)
    x, logits = torch.randn(6, 48, requires_grad=True), torch.randn(6, 4, requires_grad=True)
    ids, weights = OPS.moe_route(logits, Routing(num_chosen=2, normalized=True))
    OPS.moe_experts(x, ids, weights, held).sum().backward()
    assert x.grad is not None
    assert logits.grad is not None
    assert bool((x.grad != 0).any() and (logits.grad != 0).any())
