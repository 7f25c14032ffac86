"""Run in a process of its own: weights that are held on a device with memory of its own.

Prints, for each kind of checkpoint, how far logits there are from those on the host.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tests import checkpoints
from tests.gguf_files import write_gguf
from tests.integration.models import test_bitsandbytes as bnb
from tests.integration.models import test_compressed_forms as compressed
from tests.integration.models import test_float8 as float8
from tests.integration.models import test_gptq_awq as gptq
from tests.passes import logits
from tests.stored_folders import PROMPT, Writer, write_folder
from unisono.hardware import find_hardware
from unisono.hardware.devices.cpu import CpuHardware
from unisono.models import load_model

_BY_ROW = compressed.CASES["int8 by row"][1]
FOLDERS: dict[str, tuple[dict[str, Any], Writer]] = {
    "levels": gptq.CASES["awq"][:2],
    "levels, reordered": gptq.CASES["gptq, by activation"][:2],
    "levels, by row": (
        compressed.config("int-quantized", _BY_ROW),
        compressed.by_library("int-quantized", _BY_ROW),
    ),
    "codes in blocks": (float8.config([40, 24]), float8.in_blocks([40, 24])),
    "codes of 4 bits": bnb.CASES["nf4"][:2],
}


def difference(path: Path, weights: str = "auto") -> float:
    here, there = (
        logits(load_model(path, hardware, dtype="float32", weights=weights), hardware, PROMPT)
        for hardware in (CpuHardware(), find_hardware("virtual"))
    )
    return float((here - there.cpu()).abs().max() / here.abs().max())


def main(folder: Path) -> None:
    found: dict[str, float] = {}
    for name, (stated, writer) in FOLDERS.items():
        write_folder(folder / name, stated, writer)
        found[name] = difference(folder / name)
    found["codes become levels"] = difference(folder / "codes of 4 bits", "int8")
    for tied in (True, False):
        words = "tied" if tied else "untied"
        model = checkpoints.oracle("qwen2", tie_word_embeddings=tied)
        path = checkpoints.save(model, folder / words)
        found[f"numbers, {words}"] = difference(path)
        found[f"rounded, {words}"] = difference(path, "int4")
    model = checkpoints.oracle("llama", tie_word_embeddings=True)
    path = write_gguf(model, folder / "model.gguf", "Q8_0")
    found["blocks"], found["blocks become levels"] = difference(path), difference(path, "int8")
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
