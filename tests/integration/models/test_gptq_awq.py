"""GPTQ and AWQ: packed here by the published loops, answered as the values they stand for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
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
from unisono.models.checkpoint.formats.bit_packing import from_words

MODULE = "model.layers.0.mlp.up_proj"


def packed(levels: np.ndarray[Any, Any], bits: int) -> Tensor:
    """[R, C] -> int32 [R b / 32, C], bit by bit: what AutoGPTQ's loop makes of 2, 3, 4 and 8 bits
    (0.7.1, ``qlinear_cuda_old.py``, ``pack``)."""
    words = np.zeros((levels.shape[0] * bits // 32, levels.shape[1]), dtype=np.uint32)
    for row, values in enumerate(levels.astype(np.uint32)):
        for bit in range(bits):
            at = row * bits + bit
            words[at // 32] |= ((values >> bit) & 1) << np.uint32(at % 32)
    return torch.from_numpy(words.view(np.int32))


def rounded(weight: Tensor, bits: int, symmetric: bool, size: int) -> tuple[Tensor, ...]:
    """Levels [N, K], float16 scales and zeros [N, G], and the values they stand for."""
    groups = weight.unflatten(1, (-1, size))
    high, low = groups.amax(-1).clamp(min=0), groups.amin(-1).clamp(max=0)
    top, middle = (1 << bits) - 1, 1 << (bits - 1)
    if symmetric:
        scales = (2 * torch.maximum(high, -low) / top).half().float()
        zeros = torch.full_like(scales, middle)
    else:
        scales = ((high - low) / top).half().float()
        zeros = (-low / scales).round().clamp(0, top)
    levels = (groups / scales.unsqueeze(-1) + zeros.unsqueeze(-1)).round().clamp(0, top)
    values = (levels - zeros.unsqueeze(-1)) * scales.unsqueeze(-1)
    return levels.flatten(1), scales, zeros, values.flatten(1)


def gptq(
    bits: int = 4, *, sym: bool = True, size: int = 32, order: bool = False, offset: int = 1
) -> Writer:
    def writer(weight: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        columns = weight.shape[1]
        wide = columns if size == -1 else size
        places = torch.arange(columns)
        if order:
            generator = torch.Generator().manual_seed(weight.shape[0])
            places = torch.randperm(columns, generator=generator)
        levels, scales, zeros, values = rounded(weight[:, places], bits, sym, wide)
        back = torch.argsort(places)
        stored = (zeros - offset).numpy().astype(np.int64) & (1 << bits) - 1
        pieces = {
            "qweight": packed(levels[:, back].T.numpy(), bits),
            "qzeros": packed(stored, bits).T,
            "scales": scales.T.half(),
            "g_idx": (back // wide).int(),
        }
        return pieces, values[:, back]

    return writer


def awq(size: int = 32) -> Writer:
    """Packed by the loop of AutoAWQ 0.2.7, ``awq/modules/linear/gemm.py``."""

    def pack(levels: Tensor) -> Tensor:
        words = np.zeros((levels.shape[0], levels.shape[1] // 8), dtype=np.uint32)
        source = levels.numpy().astype(np.uint32)
        for column in range(words.shape[1]):
            for place, of in enumerate((0, 2, 4, 6, 1, 3, 5, 7)):
                words[:, column] |= source[:, 8 * column + of] << np.uint32(4 * place)
        return torch.from_numpy(words.view(np.int32))

    def writer(weight: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        wide = weight.shape[1] if size == -1 else size
        levels, scales, zeros, values = rounded(weight, 4, False, wide)
        pieces = {"qweight": pack(levels.T), "qzeros": pack(zeros.T), "scales": scales.T.half()}
        return pieces, values

    return writer


def gptq_config(bits: int = 4, size: int = 32, **more: Any) -> dict[str, Any]:
    return {"quant_method": "gptq", "bits": bits, "group_size": size, **more}


AWQ: dict[str, Any] = {"quant_method": "awq", "bits": 4, "zero_point": True, "version": "gemm"}
V2 = {"checkpoint_format": "gptq_v2"}
CASES: dict[str, tuple[dict[str, Any], Writer, str]] = {
    "gptq": (gptq_config(sym=True, desc_act=False), gptq(), "int4-g32"),
    "gptq, zeros": (gptq_config(sym=False), gptq(sym=False), "int4-asym-g32"),
    "gptq, row": (gptq_config(size=-1), gptq(size=-1), "int4-g128"),
    "gptq, groups of 16": (gptq_config(size=16), gptq(size=16), "int4-g16"),
    "gptq, version 2": (
        gptq_config(sym=False, **V2),
        gptq(sym=False, offset=0),
        "int4-asym-g32",
    ),
    "gptq, by activation": (
        gptq_config(sym=False, desc_act=True),
        gptq(sym=False, order=True),
        "int4-asym-g32",
    ),
    "gptq, 8 bits": (gptq_config(8), gptq(8), "int8-g32"),
    "gptq, 8 bits, zeros": (gptq_config(8, sym=False), gptq(8, sym=False), "int8-asym-g32"),
    "gptq, 8 bits, by activation": (
        gptq_config(8, desc_act=True, **V2),
        gptq(8, order=True, offset=0),
        "int8-g32",
    ),
    "gptq, 3 bits": (gptq_config(3), gptq(3), "int3-g32"),
    "gptq, 2 bits": (gptq_config(2, sym=False), gptq(2, sym=False), "int2-asym-g32"),
    "gptq, unlike what is stated": (gptq_config(sym=True), gptq(sym=False), "int4-g32"),
    "awq": ({**AWQ, "group_size": 32}, awq(), "int4-asym-g32"),
    "awq, row": ({**AWQ, "group_size": -1}, awq(-1), "int4-asym-g128"),
    "awq, old names": (
        {"quant_method": "awq", "w_bit": 4, "q_group_size": 16, "version": "GEMM"},
        awq(16),
        "int4-asym-g16",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_logits(case: str, tmp_path: Path) -> None:
    stated, writer, held = CASES[case]
    model = write_folder(tmp_path, stated, writer)
    assert load_model(tmp_path, CpuHardware()).weight_format == held
    assert_close(ours(tmp_path), theirs(model))


@pytest.mark.parametrize("case", ["gptq, zeros", "gptq, by activation", "awq", "gptq, 3 bits"])
def test_in_two_parts(case: str, tmp_path: Path) -> None:
    stated, writer, _ = CASES[case]
    size = {"intermediate_size": 128}
    model = write_folder(tmp_path / "model", stated, writer, "llama", **size)
    parts = logits_of_parts(tmp_path / "model", CpuHardware(), tmp_path / "meeting", 2, PROMPT)
    assert_close(parts[0], theirs(model))


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 6, 7, 8])
def test_bits(bits: int) -> None:
    levels = torch.randint(0, 1 << bits, (5, 64), generator=torch.Generator().manual_seed(bits))
    words = packed(levels.T.numpy(), bits).T
    assert torch.equal(from_words(words, bits, 61).long(), levels[:, :61])


def test_groups_of_unequal_size(tmp_path: Path) -> None:
    """No writer leaves them so, but the format can say it."""
    model = write_folder(tmp_path, gptq_config(desc_act=True), gptq(order=True))
    name, values = f"{MODULE}.g_idx", model.state_dict()[f"{MODULE}.weight"]

    def move(tensors: dict[str, Tensor]) -> None:
        groups, scales = tensors[name], tensors[f"{MODULE}.scales"].float()
        values[:, 3] *= scales[1 - groups[3]] / scales[groups[3]]
        groups[3] = 1 - groups[3]

    change_tensors(tmp_path, move)
    assert_close(ours(tmp_path), theirs(model))


def test_order_that_is_not_set(tmp_path: Path) -> None:
    """Old writers leave zeros there."""
    model = write_folder(tmp_path, gptq_config(sym=False), gptq(sym=False))
    change_tensors(tmp_path, lambda t: [x.zero_() for n, x in t.items() if n.endswith("g_idx")])
    assert_close(ours(tmp_path), theirs(model))
    change_tensors(tmp_path, lambda t: [t.pop(n) for n in list(t) if n.endswith("g_idx")])
    assert_close(ours(tmp_path), theirs(model))


def test_biases_that_the_model_does_not_have(tmp_path: Path) -> None:
    model = write_folder(tmp_path, gptq_config(), gptq())
    change_tensors(tmp_path, lambda t: t.update({f"{MODULE}.bias": torch.zeros(96)}))
    assert_close(ours(tmp_path), theirs(model))
    change_tensors(tmp_path, lambda t: t[f"{MODULE}.bias"].fill_(1))
    with pytest.raises(CheckpointError, match=r"does not know: .*up_proj\.bias"):
        ours(tmp_path)


@pytest.mark.parametrize(
    ("case", "change", "words"),
    [
        ("gptq", lambda t: t.pop(f"{MODULE}.scales"), r"up_proj\.weight.*does not state"),
        ("gptq", lambda t: t.pop(f"{MODULE}.qzeros"), r"up_proj\.weight.*does not state"),
        ("awq", lambda t: t.pop(f"{MODULE}.qweight"), r"up_proj\.weight.*does not state"),
        ("gptq", lambda t: t[f"{MODULE}.scales"].fill_(float("nan")), "no numbers"),
        ("awq", lambda t: t[f"{MODULE}.scales"].fill_(float("inf")), "no numbers"),
        ("gptq", lambda t: t[f"{MODULE}.g_idx"].fill_(2), "2 groups, and inputs of groups 2 to 2"),
        ("gptq", lambda t: t[f"{MODULE}.g_idx"].fill_(-7), "inputs of groups -7"),
        (
            "gptq",
            lambda t: t.update({f"{MODULE}.qweight": torch.zeros(8, 96)}),
            "qweight is stored as float32",
        ),
        (
            "awq",
            lambda t: t.update({f"{MODULE}.qzeros": torch.zeros(4, 12, dtype=torch.int32)}),
            r"qzeros \[4, 12\]",
        ),
    ],
)
def test_tensors_that_are_no_such_weight(
    case: str, change: Any, words: str, tmp_path: Path
) -> None:
    stated, writer, _ = CASES[case]
    write_folder(tmp_path, stated, writer)
    change_tensors(tmp_path, change)
    with pytest.raises(CheckpointError, match=words):
        load_model(tmp_path, find_hardware("cpu"))


@pytest.mark.parametrize(
    ("stated", "error", "words"),
    [
        (gptq_config(5), UnsupportedModelError, "5 bits.*Read are gptq, gptq_v2 of 2, 3, 4, 8"),
        (gptq_config(checkpoint_format="marlin"), UnsupportedModelError, "'marlin'"),
        (gptq_config(checkpoint_format=["gptq"]), UnsupportedModelError, r"\['gptq'\]"),
        ({**AWQ, "version": "gemv"}, UnsupportedModelError, "'gemv'.*version gemm of 4 bits"),
        ({**AWQ, "bits": 8}, UnsupportedModelError, "8 bits"),
        (gptq_config(size=0), CheckpointError, "group_size must be a positive integer"),
        (gptq_config(size=-2), CheckpointError, "group_size must be"),
        (gptq_config(size=1 << 40), CheckpointError, "group_size must be"),
        (gptq_config(size=1 << 17), CheckpointError, "does not state"),
        (AWQ, CheckpointError, "group_size must be"),
        ({"quant_method": "gptq"}, CheckpointError, "bits must be"),
        ({"quant_method": "hqq"}, UnsupportedModelError, "'hqq'.*Read are: awq,.*gptq"),
    ],
    ids=str,
)
def test_configurations(stated: dict[str, Any], error: type, words: str, tmp_path: Path) -> None:
    write_folder(tmp_path, gptq_config(), gptq())
    change_config(tmp_path, stated)
    with pytest.raises(error, match=words):
        load_model(tmp_path, find_hardware("cpu"))
