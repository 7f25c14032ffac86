"""A model loaded for training. ``test_families.py`` compares the gradients of every family."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests import checkpoints
from tests.training import loss_of, packed_logits, trainable
from unisono.core.errors import ConfigError
from unisono.core.weight_format import WeightFormat
from unisono.hardware import find_hardware
from unisono.models import load_model
from unisono.models.checkpoint.quantizing import QuantizePlan
from unisono.models.parallel import Shard


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
