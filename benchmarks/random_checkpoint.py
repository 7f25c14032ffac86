"""A random checkpoint with the shape of a real model: speed does not depend on what weights say."""

from __future__ import annotations

import argparse
from pathlib import Path

QWEN3_0_6B = {
    "hidden_size": 1024,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "intermediate_size": 3072,
    "vocab_size": 151_936,
    "tie_word_embeddings": True,
    "max_position_embeddings": 40_960,
    "rms_norm_eps": 1e-6,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0},
}


def make(folder: Path) -> Path:
    """Write a bfloat16 checkpoint of Qwen3-0.6B's shape, unless it is there already."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    if not (folder / "model.safetensors").exists():
        torch.manual_seed(0)
        torch.set_default_dtype(torch.bfloat16)
        model = Qwen3ForCausalLM(Qwen3Config(**QWEN3_0_6B, eos_token_id=None, bos_token_id=None))
        torch.set_default_dtype(torch.float32)
        model.save_pretrained(folder)
    return folder


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    print(make(parser.parse_args().folder))
