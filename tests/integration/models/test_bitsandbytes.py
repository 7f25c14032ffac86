"""bitsandbytes: written here by the published layout (0.49, ``functional.py``)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

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
from unisono.models import load_model

NAME = "model.layers.0.mlp.up_proj.weight"
STATE = f"{NAME}.quant_state.bitsandbytes__nf4"
MAP = torch.linspace(-1, 1, 16).sign() * torch.linspace(-1, 1, 16).square()
NF4 = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
INT8 = {"quant_method": "bitsandbytes", "load_in_8bit": True}


def four_bits(*, size: int = 32, nested: bool = False, kind: str = "nf4") -> Writer:
    def writer(weight: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        blocks = weight.reshape(-1, size)
        scales = blocks.abs().amax(1)
        state: dict[str, Any] = {"quant_type": kind, "blocksize": size, "dtype": "float32"}
        pieces = {"weight.absmax": scales, "weight.quant_map": MAP}
        if nested:
            table, offset = torch.linspace(-1, 1, 256), scales.mean()
            whole = torch.stack([x.abs().amax() for x in (scales - offset).split(16)])
            spread = whole.repeat_interleave(16)[: len(scales)]
            octets = ((scales - offset) / spread).sub(table.unsqueeze(1)).abs().argmin(0)
            scales = table[octets] * spread + float(offset)
            state |= {"nested_blocksize": 16, "nested_offset": float(offset)}
            pieces |= {
                "weight.absmax": octets.to(torch.uint8),
                "weight.nested_absmax": whole,
                "weight.nested_quant_map": table,
            }
        ratios = (blocks / scales.unsqueeze(1)).flatten()
        codes = (ratios.unsqueeze(1) - MAP).abs().argmin(1)
        values = MAP[codes].view_as(blocks) * scales.unsqueeze(1)
        packed = codes[0::2] << 4 | codes[1::2]
        text = json.dumps({**state, "shape": list(weight.shape)})
        pieces["weight"] = packed.to(torch.uint8).unsqueeze(1)
        name = f"weight.quant_state.bitsandbytes__{kind}"
        pieces[name] = torch.tensor(list(text.encode()), dtype=torch.uint8)
        return pieces, values.view_as(weight)

    return writer


def eight_bits(weight: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    largest = weight.abs().amax(1)
    levels = (weight * 127 / largest.unsqueeze(1)).round().to(torch.int8)
    values = levels * largest.unsqueeze(1) / 127
    pieces = {"weight": levels, "SCB": largest, "weight_format": torch.zeros((), dtype=torch.uint8)}
    return pieces, values


CASES: dict[str, tuple[dict[str, Any], Writer, str]] = {
    "nf4": (NF4, four_bits(), "nf4"),
    "nf4, nested": (NF4, four_bits(nested=True), "nf4"),
    "fp4": ({**NF4, "bnb_4bit_quant_type": "fp4"}, four_bits(kind="fp4", size=16), "fp4"),
    "int8": (INT8, eight_bits, "int8-g128"),
}


@pytest.mark.parametrize("case", CASES)
def test_logits(case: str, tmp_path: Path) -> None:
    stated, writer, held = CASES[case]
    model = write_folder(tmp_path, stated, writer)
    assert load_model(tmp_path, CpuHardware()).weight_format == held
    assert_close(ours(tmp_path), theirs(model))


@pytest.mark.parametrize("case", ["nf4, nested", "int8"])
def test_in_two_parts(case: str, tmp_path: Path) -> None:
    stated, writer, _ = CASES[case]
    model = write_folder(tmp_path / "model", stated, writer, "llama")
    parts = logits_of_parts(tmp_path / "model", CpuHardware(), tmp_path / "meeting", 2, PROMPT)
    assert_close(parts[0], theirs(model))


def in_state(**changes: Any) -> Any:
    def change(tensors: dict[str, Tensor]) -> None:
        state = {**json.loads(bytes(tensors[STATE].tolist())), **changes}
        tensors[STATE] = torch.tensor(list(json.dumps(state).encode()), dtype=torch.uint8)

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop(f"{NAME}.absmax"), "does not state"),
        (lambda t: t.pop(STATE), "does not state"),
        (lambda t: t.pop(f"{NAME}.nested_absmax"), "does not state"),
        (lambda t: t.update({NAME: t[NAME][1:].contiguous()}), "does not state"),
        (lambda t: t[f"{NAME}.nested_absmax"].fill_(float("nan")), "no numbers"),
        (lambda t: t.update({f"{NAME}.absmax": torch.ones(96 * 2)}), "absmax is stored as float32"),
        (lambda t: t.update({f"{NAME}.quant_map": MAP[:8].clone()}), "does not state"),
        (lambda t: t.update({STATE: t[STATE][1:].clone()}), "quant_state that is no JSON"),
        (lambda t: t.update({STATE: t[STATE].float()}), "quant_state that is no JSON"),
        (lambda t: t.update({STATE: t[STATE][None].clone()}), "quant_state that is no JSON"),
        (lambda t: t[f"{NAME}.quant_map"].fill_(float("nan")), "no numbers"),
        (lambda t: t.update({STATE: torch.tensor([91, 93]).byte()}), "no JSON object"),
        (in_state(shape=[64, 96]), r"does not state"),
        (in_state(shape="x"), "shape must be a list"),
        (in_state(blocksize=0), "blocksize must be a positive integer"),
        (in_state(blocksize=16), "does not state"),
        (in_state(nested_blocksize=1 << 20), "does not state"),
        (in_state(nested_offset="many"), "nested_offset must be"),
        (in_state(blocksize=48), "blocks of 48 codes, some of which span rows of 64"),
    ],
)
def test_tensors_that_are_no_such_weight(change: Any, words: str, tmp_path: Path) -> None:
    write_folder(tmp_path, NF4, four_bits(nested=True))
    change_tensors(tmp_path, change)
    with pytest.raises((CheckpointError, UnsupportedModelError), match=words):
        load_model(tmp_path, find_hardware("cpu"))


@pytest.mark.parametrize(
    ("stated", "words"),
    [
        ({**NF4, "bnb_4bit_quant_type": "af4"}, "'af4'.*load_in_4bit as nf4 or fp4"),
        ({"quant_method": "bitsandbytes"}, "load_in_8bit, and load_in_4bit"),
    ],
)
def test_kinds_that_are_not_read(stated: dict[str, Any], words: str, tmp_path: Path) -> None:
    write_folder(tmp_path, NF4, four_bits())
    change_config(tmp_path, stated)
    with pytest.raises(UnsupportedModelError, match=words):
        load_model(tmp_path, find_hardware("cpu"))
