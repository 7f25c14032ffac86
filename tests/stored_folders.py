"""Tiny checkpoints whose linear weights are stored quantised, and the model they stand for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from tests.checkpoints import oracle, prompts
from tests.passes import logits
from unisono.hardware.devices.cpu import CpuHardware
from unisono.models import load_model

PROMPT = prompts(40)[0]

Writer = Callable[[Tensor], tuple[dict[str, Tensor], Tensor]]
"""The tensors that stand for a weight, by what follows the module's name, and its values
by the format's own reference."""


def write_folder(
    folder: Path, config: dict[str, Any], writer: Writer, family: str = "qwen3", **options: Any
) -> PreTrainedModel:
    """Write every linear layer but the head with ``writer``; the model with the written values."""
    model = oracle(family, **options)
    model.save_pretrained(folder)
    tensors = load_file(folder / "model.safetensors")
    values = {}
    for name in [name for name in tensors if name.endswith("_proj.weight")]:
        pieces, values[name] = writer(tensors.pop(name))
        module = name.removesuffix(".weight")
        tensors |= {f"{module}.{piece}": t.clone().contiguous() for piece, t in pieces.items()}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    change_config(folder, config)
    return with_values(model, values, folder.parent / f"{folder.name} with values")


def with_values(model: PreTrainedModel, values: dict[str, Tensor], folder: Path) -> PreTrainedModel:
    """``model`` with other weights, by their names in its checkpoint."""
    if values.keys() <= model.state_dict().keys():
        model.load_state_dict(values, strict=False)
        return model
    model.save_pretrained(folder)
    change_tensors(folder, lambda tensors: tensors.update(values))
    return AutoModelForCausalLM.from_pretrained(folder).eval()


def change_config(folder: Path, quantization: dict[str, Any]) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = quantization
    (folder / "config.json").write_text(json.dumps(config))


def change_tensors(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def ours(folder: Path, **options: Any) -> Tensor:
    """Logits in float32, by ops that round no activations."""
    hardware = CpuHardware()
    return logits(load_model(folder, hardware, dtype="float32", **options), hardware, PROMPT)


def theirs(model: PreTrainedModel) -> Tensor:
    with torch.no_grad():
        return model(torch.tensor([PROMPT])).logits[0]


def assert_close(found: Tensor, expected: Tensor) -> None:
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()
