"""Adapters for tests: made, saved and computed by PEFT, the oracle; or written without it."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from tests.checkpoints import VOCAB_SIZE

ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
DENSE = [*ATTENTION, "gate_proj", "up_proj", "down_proj"]


def adapt(model: PreTrainedModel, folder: Path, *, seed: int = 0, **options: Any) -> Any:
    """``model`` with a random adapter, which is saved to ``folder``: PEFT's model. The model is
    changed; ``unload`` of what is returned gives it back."""
    from peft import LoraConfig, get_peft_model

    options = {
        "task_type": "CAUSAL_LM",
        "r": 4,
        "lora_alpha": 8,
        "target_modules": DENSE,
        "lora_dropout": 0.1,
        **options,
    }
    adapted = get_peft_model(model, LoraConfig(**options)).eval()
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if ".lora_" in name:
                parameter.normal_(std=0.15, generator=generator)
    logging.disable(logging.WARNING)
    adapted.save_pretrained(folder)
    logging.disable(logging.NOTSET)
    return adapted


def logprobs(adapted: Any, token_ids: list[int]) -> torch.Tensor:
    """[length, V]: the distribution after each token."""
    assert max(token_ids) < VOCAB_SIZE
    with torch.no_grad():
        return adapted(torch.tensor([token_ids])).logits[0].float().log_softmax(-1)


def write(folder: Path, modules: Mapping[str, tuple[int, int]], *, rank: int, seed: int) -> Path:
    """A random adapter of modules with so many outputs and inputs."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, (rows, columns) in modules.items():
        for side, shape in (("A", (rank, columns)), ("B", (rows, rank))):
            tensor = torch.randn(shape, generator=generator) * 0.4
            tensors[f"base_model.model.{name}.lora_{side}.weight"] = tensor
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": 2 * rank}
    targets = {"target_modules": sorted(modules), "base_model_name_or_path": "tiny"}
    (folder / "adapter_config.json").write_text(json.dumps({**config, **targets}))
    return folder
