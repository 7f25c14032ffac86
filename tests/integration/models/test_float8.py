"""FP8 checkpoints: written and dequantised by transformers, answered alike."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.integrations.finegrained_fp8 import (
    Fp8Dequantize,
    Fp8Quantize,
    _dequantize_fp8_weight,
)

from tests.passes import logits_of_parts
from tests.stored_folders import (
    PROMPT,
    Writer,
    assert_close,
    change_config,
    change_tensors,
    ours,
    theirs,
    write_folder,
)
from unisono.core.errors import CheckpointError, UnsupportedModelError
from unisono.hardware import find_hardware
from unisono.hardware.devices.cpu import CpuHardware
from unisono.models import RawConfig, load_model
from unisono.models.checkpoint.formats.stored_format import find_stored_format

CPU = torch.device("cpu")
NAME = "model.layers.0.mlp.up_proj.weight"


def config(block: list[int] | None = None, **more: Any) -> dict[str, Any]:
    blocks = {} if block is None else {"weight_block_size": block}
    return {"quant_method": "fp8", "activation_scheme": "dynamic", "fmt": "e4m3", **blocks, **more}


def by_transformers(block: list[int], scale_fmt: str = "float") -> Writer:
    """Whole blocks, as transformers saves them."""
    stated = SimpleNamespace(weight_block_size=block, scale_fmt=scale_fmt)
    write = Fp8Quantize(SimpleNamespace(quantization_config=stated))

    def writer(weight: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        made = write._quantize_one("m.weight", weight)
        pieces = {name.removeprefix("m."): tensor for name, tensor in made.items()}
        values = Fp8Dequantize(None)._dequantize_one(
            pieces["weight"], pieces["weight_scale_inv"], torch.float32
        )
        return pieces, values

    return writer


def in_blocks(block: list[int], dtype: torch.dtype = torch.float32) -> Writer:
    """Blocks at the edges are smaller, as DeepSeek's own kernel leaves them."""

    def writer(weight: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        rows, columns = weight.shape
        scales = torch.stack(
            [
                torch.stack([part.abs().max() / 448 for part in band.split(block[1], 1)])
                for band in weight.split(block[0])
            ]
        ).to(dtype)
        spread = scales.float().repeat_interleave(block[0], 0).repeat_interleave(block[1], 1)
        made = (weight / spread[:rows, :columns]).to(torch.float8_e4m3fn)
        values = _dequantize_fp8_weight(made, scales.float(), block, torch.float32)
        return {"weight": made, "weight_scale_inv": scales}, values

    return writer


def by_scale_of(dims: tuple[int, ...], shape: list[int], name: str, **more: Tensor) -> Writer:
    """One scale for what ``dims`` run over."""

    def writer(weight: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        scales = weight.abs().amax(dims, keepdim=True) / 448
        made = (weight / scales).to(torch.float8_e4m3fn)
        values = _dequantize_fp8_weight(made, scales, None, torch.float32)
        return {"weight": made, name: scales.reshape(shape), **more}, values

    return writer


ACTIVATIONS = {"input_scale": torch.ones(()), "k_scale": torch.ones(1)}
CASES: dict[str, tuple[dict[str, Any], Writer]] = {
    "whole blocks": (config([16, 32]), by_transformers([16, 32])),
    "powers of two": (
        config([32, 32], scale_fmt="ue8m0"),
        by_transformers([32, 32], "ue8m0"),
    ),
    "edges": (config([40, 24]), in_blocks([40, 24])),
    "bfloat16 scales": (
        config([128, 128], fmt="float8_e4m3fn"),
        in_blocks([128, 128], torch.bfloat16),
    ),
    "tensor": (config(), by_scale_of((0, 1), [], "weight_scale_inv")),
    "tensor, static": (
        config(activation_scheme="static"),
        by_scale_of((0, 1), [1], "weight_scale", **ACTIVATIONS),
    ),
    "rows": ({"quant_method": "fbgemm_fp8"}, by_scale_of((1,), [-1, 1], "weight_scale")),
}


@pytest.mark.parametrize("case", CASES)
def test_logits(case: str, tmp_path: Path) -> None:
    stated, writer = CASES[case]
    model = write_folder(tmp_path, stated, writer)
    assert_close(ours(tmp_path), theirs(model))


@pytest.mark.parametrize(
    "writer", [by_transformers([32, 16]), in_blocks([40, 24]), in_blocks([128, 128])]
)
def test_values_bit_for_bit(writer: Writer) -> None:
    weight = torch.randn(96, 64, generator=torch.Generator().manual_seed(0))
    weight[:, 5] *= 1e-4
    pieces, values = writer(weight)
    stated = config([32, 16] if pieces["weight_scale_inv"].shape == (3, 4) else [40, 24])
    stated = config([128, 128]) if pieces["weight_scale_inv"].numel() == 1 else stated
    reader = find_stored_format(RawConfig({"quantization_config": stated}))
    assert reader is not None
    held = reader.unpack(NAME, (96, 64), pieces).to(CPU)
    assert torch.equal(held.dequantize(), values)
    assert torch.equal(held.dequantize(torch.bfloat16), values.bfloat16())
    assert held.num_bytes == pieces["weight"].nbytes + pieces["weight_scale_inv"].nbytes


@pytest.mark.parametrize("block", [[16, 32], [40, 24], [128, 128]])
def test_in_two_parts(block: list[int], tmp_path: Path) -> None:
    """Ranks cut through blocks."""
    model = write_folder(tmp_path / "model", config(block), in_blocks(block), "llama")
    hardware = CpuHardware()
    parts = logits_of_parts(tmp_path / "model", hardware, tmp_path / "meeting", 2, PROMPT)
    assert torch.equal(parts[0], parts[1])
    assert_close(parts[0], theirs(model))


def test_parts_that_are_not_quantised(tmp_path: Path) -> None:
    """One of the matrices that are multiplied as one."""
    model = write_folder(tmp_path / "model", config([40, 24]), in_blocks([40, 24]), "llama")
    plain = {
        name: torch.randn(shape.shape, generator=torch.Generator().manual_seed(0))
        for name, shape in model.state_dict().items()
        if name.endswith(("k_proj.weight", "gate_proj.weight"))
    }
    model.load_state_dict(plain, strict=False)

    def put_back(tensors: dict[str, Tensor]) -> None:
        for name, weight in plain.items():
            tensors[name] = weight
            del tensors[f"{name}_scale_inv"]

    change_tensors(tmp_path / "model", put_back)
    assert_close(ours(tmp_path / "model"), theirs(model))
    parts = logits_of_parts(tmp_path / "model", CpuHardware(), tmp_path / "meeting", 2, PROMPT)
    assert_close(parts[0], theirs(model))
    model.save_pretrained(tmp_path / "plain")
    found, expected = (ours(tmp_path / name, weights="int8") for name in ("model", "plain"))
    assert torch.equal(found, expected)


@pytest.mark.parametrize("text", ["int8", "int4-asym-g64"])
def test_it_can_become_levels(text: str, tmp_path: Path) -> None:
    model = write_folder(tmp_path / "fp8", config([40, 24]), in_blocks([40, 24]))
    model.save_pretrained(tmp_path / "plain")
    found, expected = ours(tmp_path / "fp8", weights=text), ours(tmp_path / "plain", weights=text)
    assert torch.equal(found, expected)
    loaded = load_model(tmp_path / "fp8", find_hardware("cpu"), weights=text)
    assert loaded.weight_format == text.replace("int8", "int8-g128")


def test_what_is_held_is_as_small_as_the_file(tmp_path: Path) -> None:
    write_folder(tmp_path, config([16, 32]), in_blocks([16, 32]))
    loaded = load_model(tmp_path, find_hardware("cpu"))
    assert loaded.weight_format == "fp8-16x32"
    file = (tmp_path / "model.safetensors").stat().st_size
    assert 0.9 * file < loaded.weight_bytes <= file


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop(f"{NAME}_scale_inv"), r"up_proj.weight is stored as F8_E4M3.*no scales"),
        (lambda t: t.pop(NAME), r"up_proj.weight .*weight_scale_inv.*does not state"),
        (
            lambda t: t.update({f"{NAME}_scale_inv": torch.ones(4, 2)}),
            r"weight_scale_inv \[4, 2\].*does not state",
        ),
        (lambda t: t[f"{NAME}_scale_inv"].fill_(float("nan")), "scales that are no numbers"),
        (
            lambda t: t.update({f"{NAME}_scale_inv": torch.ones(6, 2, dtype=torch.int32)}),
            "weight_scale_inv is stored as int32",
        ),
        (
            lambda t: t.update({NAME: t[NAME].view(torch.uint8)}),
            "weight is stored as uint8",
        ),
        (lambda t: t.update({NAME: t[NAME][:, 1:].contiguous()}), r"weight \[96, 63\]"),
        (lambda t: t.update({f"{NAME}_scale": torch.ones(())}), "does not state"),
        (
            lambda t: [t.pop(name) for name in list(t) if "_scale_inv" in name],
            "is stored as F8_E4M3, and has no scales",
        ),
        (
            lambda t: t.update({f"{NAME}_scale_inv": torch.full((6, 2), 255).to(torch.uint8)}),
            "scales that are no numbers",
        ),
    ],
)
def test_tensors_that_are_no_such_weight(change: Any, words: str, tmp_path: Path) -> None:
    write_folder(tmp_path, config([16, 32]), in_blocks([16, 32]))
    change_tensors(tmp_path, change)
    with pytest.raises(CheckpointError, match=words):
        load_model(tmp_path, find_hardware("cpu"))


@pytest.mark.parametrize(
    ("stated", "error", "words"),
    [
        (config(fmt="e5m2"), UnsupportedModelError, "fmt is 'e5m2'.*Read is fp8 in e4m3"),
        (config(fmt=[4]), UnsupportedModelError, r"fmt is \[4\]"),
        (config(expert_dtype="fp4"), UnsupportedModelError, "expert_dtype is 'fp4'"),
        (config([16]), CheckpointError, r"weight_block_size must be two numbers.*\[16\]"),
        (config([16, 0]), CheckpointError, "weight_block_size must be two numbers"),
        (config([16, 1 << 40]), CheckpointError, "weight_block_size must be two numbers"),
        (config(weight_block_size="16"), CheckpointError, "weight_block_size must be a list"),
        (config([32, 32]), CheckpointError, r"weight_scale_inv \[\d+, \d+\].*does not state"),
        (config(), CheckpointError, "does not state"),
    ],
    ids=str,
)
def test_configurations(stated: dict[str, Any], error: type, words: str, tmp_path: Path) -> None:
    write_folder(tmp_path, config([16, 32]), in_blocks([16, 32]))
    change_config(tmp_path, stated)
    with pytest.raises(error, match=words):
        load_model(tmp_path, find_hardware("cpu"))
