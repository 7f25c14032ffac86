"""A model loaded for training: without a cache every family computes what it does with one, and its
gradients are those of transformers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests import checkpoints
from tests.families import CASES
from tests.passes import logits
from unisono.core.errors import ConfigError
from unisono.core.weight_format import WeightFormat
from unisono.hardware import find_hardware
from unisono.hardware.ops.experts import Expert
from unisono.models import load_model
from unisono.models.checkpoint.quantizing import QuantizePlan
from unisono.models.decoder import Decoder
from unisono.models.layers.moe import Experts
from unisono.models.layers.norm import ZeroCentredLayerNorm, ZeroCentredRMSNorm
from unisono.models.parallel import Shard
from unisono.models.training import without_cache

LENGTHS = (1, 23, 60, 5)
CONSTANTS = ("e_score_correction_bias", "act_fn.beta", "act_fn.eps", "layer_scalar")
"""No parameters in transformers either."""
CHOOSING = ".indexer."
"""What only decides which tokens are seen: no gradient passes a choice."""


@pytest.fixture(scope="module", params=CASES)
def any_case(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Any, Path]:
    case = CASES[request.param]
    model = checkpoints.oracle(case.model_type, **case.options)
    return model, checkpoints.save(model, tmp_path_factory.mktemp(request.param))


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


def close(ours: Tensor, theirs: Tensor, share: float = 1e-4) -> bool:
    return bool((ours - theirs).abs().max() <= share * theirs.abs().max())


def test_without_a_cache_is_with_one(any_case: tuple[Any, Path]) -> None:
    _, folder = any_case
    sequences = checkpoints.prompts(*LENGTHS)
    hardware = find_hardware("cpu")
    cached = load_model(folder, hardware, dtype="float32")
    alone = [logits(cached, hardware, sequence) for sequence in sequences]
    together = packed_logits(trainable(folder), sequences).detach().split(LENGTHS)
    for ours, theirs in zip(together, alone, strict=True):
        assert close(ours, theirs)


def test_gradients(
    any_case: tuple[Any, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    oracle, folder = any_case
    model, sequences = trainable(folder), checkpoints.prompts(*LENGTHS)
    chosen = chosen_experts(model, monkeypatch)
    loss_of(packed_logits(model, sequences)).backward()
    theirs = dict(gradients_of(oracle, sequences, tmp_path).named_parameters())
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad != name.endswith(CONSTANTS), name
        if not parameter.requires_grad or CHOOSING in name or is_idle(name, model, chosen):
            assert parameter.grad is None, name
        else:
            assert parameter.grad is not None, name
            assert parameter.grad.any(), name
            assert close(parameter.grad, theirs[name], 1e-3), name


def chosen_experts(model: Decoder, monkeypatch: pytest.MonkeyPatch) -> dict[int, set[int]]:
    """The experts that run, by the id of the sequence that holds their weights."""
    chosen: dict[int, set[int]] = {}
    ops = model.embed_tokens.ops
    run = ops.moe_experts

    def moe_experts(
        x: Tensor, ids: Tensor, weights: Tensor, experts: Sequence[Expert], *activation: str
    ) -> Tensor:
        chosen.setdefault(id(experts), set()).update(ids.flatten().tolist())
        return run(x, ids, weights, experts, *activation)

    monkeypatch.setattr(ops, "moe_experts", moe_experts)
    return chosen


def is_idle(name: str, model: Decoder, chosen: dict[int, set[int]]) -> bool:
    """Whether it is a weight of an expert that no token took."""
    path, found, rest = name.rpartition(".experts.")
    if not found:
        return False
    experts = model.get_submodule(f"{path}.experts")
    assert isinstance(experts, Experts)
    return int(rest.partition(".")[0]) not in chosen[id(experts.held)]


def gradients_of(oracle: Any, sequences: list[list[int]], out: Path) -> Decoder:
    """A model that has the oracle's gradients in place of weights: its checkpoint holds them."""
    oracle.zero_grad()
    loss_of(
        torch.cat([oracle(torch.tensor([ids]), use_cache=False).logits[0] for ids in sequences])
    ).backward()
    kept = {name: parameter.detach().clone() for name, parameter in oracle.named_parameters()}
    with torch.no_grad():
        for parameter in oracle.parameters():
            parameter.copy_(0.0 if parameter.grad is None else parameter.grad)
        model = trainable(checkpoints.save(oracle, out))
        for name, parameter in oracle.named_parameters():
            parameter.copy_(kept[name])
        for module in model.modules():
            if isinstance(module, ZeroCentredRMSNorm | ZeroCentredLayerNorm):
                module.weight -= 1.0
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = checkpoints.oracle("qwen3", tie_word_embeddings=True)
    return checkpoints.save(model, tmp_path_factory.mktemp("qwen3"))


def test_trained_weights_leave_the_checkpoint_alone(folder: Path) -> None:
    """Weights are not the mapped file; and a step of an optimizer makes the loss smaller."""
    before = (folder / "model.safetensors").read_bytes()
    model, sequences = trainable(folder), checkpoints.prompts(30, 20)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.003)
    losses = []
    for _ in range(4):
        optimizer.zero_grad()
        loss = loss_of(packed_logits(model, sequences))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses == sorted(losses, reverse=True)
    assert model.lm_head.weight is model.embed_tokens.weight
    assert (folder / "model.safetensors").read_bytes() == before


def test_only_whole_unquantized_models_train(folder: Path, tmp_path: Path) -> None:
    hardware = find_hardware("cpu")
    with pytest.raises(ConfigError, match="int8-g128 cannot be trained"):
        load_model(folder, hardware, weights="int8", trainable=True)
    with pytest.raises(ConfigError, match="that ranks share"):
        load_model(folder, hardware, shard=Shard(rank=0, size=2), trainable=True)
    QuantizePlan(folder, WeightFormat(bits=8)).write(tmp_path / "int8", source="qwen3")
    with pytest.raises(ConfigError, match="quantised weights, which cannot be trained"):
        load_model(tmp_path / "int8", hardware, trainable=True)
