"""A model loaded for training, and the gradients that transformers gives of the same loss."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tests import checkpoints
from unisono.hardware import find_hardware
from unisono.hardware.ops.experts import Expert
from unisono.models import load_model
from unisono.models.decoder import Decoder
from unisono.models.layers.moe import Experts
from unisono.models.layers.norm import ZeroCentredLayerNorm, ZeroCentredRMSNorm
from unisono.models.training import without_cache

CONSTANTS = ("e_score_correction_bias", "act_fn.beta", "act_fn.eps", "layer_scalar")
"""No parameters in transformers either."""
CHOOSING = ".indexer."
"""Parameters that only decide which tokens are seen: no gradient passes a choice."""


def trainable(folder: Path) -> Decoder:
    return load_model(folder, find_hardware("cpu"), dtype="float32", trainable=True).model


def packed_logits(model: Decoder, sequences: list[list[int]]) -> Tensor:
    """[T, V] of all sequences in one pass."""
    device = find_hardware("cpu").device
    token_ids = torch.tensor([token for sequence in sequences for token in sequence])
    step = without_cache(model, [len(sequence) for sequence in sequences], device)
    return model.logits(model(token_ids, step))


def loss_of(logits: Tensor) -> Tensor:
    """Cross entropy of a random token at each position."""
    (targets,) = checkpoints.prompts(len(logits), seed=9)
    return F.cross_entropy(logits, torch.tensor(targets))


def check_training(
    oracle: Any, folder: Path, sequences: list[list[int]], out: Path
) -> tuple[Tensor, ...]:
    """The logits of each sequence, all of them in one pass without a cache. Every parameter has the
    gradient that the oracle's has, but those of experts that no token took, and what only chooses.
    """
    model = trainable(folder)
    chosen = _chosen_experts(model)
    logits = packed_logits(model, sequences)
    loss_of(logits).backward()
    theirs = dict(_gradients_of(oracle, sequences, out).named_parameters())
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad != name.endswith(CONSTANTS), name
        if not parameter.requires_grad or CHOOSING in name or _is_idle(name, model, chosen):
            assert parameter.grad is None, name
        else:
            assert parameter.grad is not None, name
            error = (parameter.grad - theirs[name]).abs().max()
            assert error <= 1e-3 * theirs[name].abs().max(), name
            assert parameter.grad.any(), name
    return logits.detach().split([len(sequence) for sequence in sequences])


def _chosen_experts(model: Decoder) -> dict[int, set[int]]:
    """The experts that will run, by the id of the sequence that holds their weights."""
    chosen: dict[int, set[int]] = {}
    ops = model.embed_tokens.ops
    run = ops.moe_experts

    def moe_experts(
        x: Tensor, ids: Tensor, weights: Tensor, experts: Sequence[Expert], *activation: str
    ) -> Tensor:
        chosen.setdefault(id(experts), set()).update(ids.flatten().tolist())
        return run(x, ids, weights, experts, *activation)

    ops.moe_experts = moe_experts  # type: ignore[method-assign]
    return chosen


def _is_idle(name: str, model: Decoder, chosen: dict[int, set[int]]) -> bool:
    """True where it is a weight of an expert that no token took."""
    path, found, rest = name.rpartition(".experts.")
    if not found:
        return False
    experts = model.get_submodule(f"{path}.experts")
    assert isinstance(experts, Experts)
    return int(rest.partition(".")[0]) not in chosen[id(experts.held)]


def _gradients_of(oracle: Any, sequences: list[list[int]], out: Path) -> Decoder:
    """A model that has the oracle's gradients in place of weights: its checkpoint holds them."""
    theirs = copy.deepcopy(oracle)
    rows = [theirs(torch.tensor([ids]), use_cache=False).logits[0] for ids in sequences]
    loss_of(torch.cat(rows)).backward()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.copy_(0.0 if parameter.grad is None else parameter.grad)
        model = trainable(checkpoints.save(theirs, out))
        for module in model.modules():
            if isinstance(module, ZeroCentredRMSNorm | ZeroCentredLayerNorm):
                module.weight -= 1.0
    return model
