"""A Qwen3 checkpoint as GGUF, and its quantised forms made by llama.cpp itself.

    python make_gguf.py CHECKPOINT FOLDER          # BF16.gguf, Q8_0.gguf, Q4_0.gguf

Runs in llama.cpp's environment: needs ``gguf`` and ``llama_cpp``, no torch. Formats of embedding
and head are those that llama.cpp chooses.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gguf
import llama_cpp
import numpy as np

FORMATS = {"Q8_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0, "Q4_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_0}
BF16 = gguf.GGMLQuantizationType.BF16


def bfloat16_tensors(file: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Name and bits (uint16) of each tensor of a safetensors file.

    Raises:
        ValueError: a tensor is not bfloat16.
    """
    with file.open("rb") as stream:
        header_bytes = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(header_bytes))
    data = np.memmap(file, np.uint8, "r", offset=8 + header_bytes)
    header.pop("__metadata__", None)
    for name, entry in header.items():
        if entry["dtype"] != "BF16":
            raise ValueError(f"{name} is {entry['dtype']}; only BF16 checkpoints are converted.")
        begin, end = entry["data_offsets"]
        yield name, data[begin:end].view(np.uint16).reshape(entry["shape"])


def describe(writer: gguf.GGUFWriter, config: dict[str, Any]) -> None:
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    writer.add_tokenizer_model("no_vocab")


def convert(checkpoint: Path, target: Path) -> None:
    """Write the checkpoint as it is: bfloat16, vectors in float32, no vocabulary."""
    config = json.loads((checkpoint / "config.json").read_text())
    writer = gguf.GGUFWriter(target, "qwen3")
    describe(writer, config)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN3, config["num_hidden_layers"])
    for name, bits in bfloat16_tensors(checkpoint / "model.safetensors"):
        if name == "lm_head.weight" and config["tie_word_embeddings"]:
            continue
        renamed = names.get_name(name, try_suffixes=(".weight",))
        if bits.ndim == 1:
            writer.add_tensor(renamed, (bits.astype(np.uint32) << 16).view(np.float32))
        else:
            writer.add_tensor(renamed, bits.view(np.uint8), raw_dtype=BF16)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def quantize(source: Path, ftype: int, target: Path) -> None:
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = ftype
    if llama_cpp.llama_model_quantize(str(source).encode(), str(target).encode(), params):
        raise RuntimeError(f"llama.cpp could not quantise {source} to {target}.")


def make(target: Path, write: Callable[[Path], None]) -> None:
    """Under another name until it is whole; nothing where it is there already."""
    if not target.exists():
        unfinished = target.with_suffix(".part")
        write(unfinished)
        unfinished.rename(target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    source = args.folder / "BF16.gguf"
    make(source, partial(convert, args.checkpoint))
    for name, ftype in FORMATS.items():
        make(args.folder / f"{name}.gguf", partial(quantize, source, ftype))


if __name__ == "__main__":
    main()
