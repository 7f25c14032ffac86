"""A small random checkpoint that the kit writes itself, so that no download is needed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """A dense decoder; with ``qk_norm`` it is a Qwen3, with ``window`` a Mistral, else a Llama."""

    vocab_size: int = 640
    hidden_size: int = 96
    num_layers: int = 2
    num_heads: int = 6
    num_kv_heads: int = 2
    head_dim: int = 32
    intermediate_size: int = 160
    rope_theta: float = 10_000.0
    eps: float = 1e-6
    max_position: int = 4096
    qk_norm: bool = True
    tied: bool = True
    window: int | None = None

    @property
    def architecture(self) -> str:
        if self.qk_norm:
            return "Qwen3ForCausalLM"
        return "LlamaForCausalLM" if self.window is None else "MistralForCausalLM"

    def config(self) -> dict[str, Any]:
        """The content of its ``config.json``."""
        return {
            "architectures": [self.architecture],
            "model_type": self.architecture.removesuffix("ForCausalLM").lower(),
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "num_hidden_layers": self.num_layers,
            "num_attention_heads": self.num_heads,
            "num_key_value_heads": self.num_kv_heads,
            "head_dim": self.head_dim,
            "intermediate_size": self.intermediate_size,
            "rope_theta": self.rope_theta,
            "rms_norm_eps": self.eps,
            "max_position_embeddings": self.max_position,
            "tie_word_embeddings": self.tied,
            "sliding_window": self.window,
            "hidden_act": "silu",
            "torch_dtype": "float32",
        }


SMALL = Shape()
WINDOWED = Shape(qk_norm=False, tied=False, window=24)


def random_weights(shape: Shape, *, seed: int = 0) -> dict[str, Tensor]:
    """Float32 by checkpoint name; large enough that logits differ clearly."""
    generator = torch.Generator().manual_seed(seed)
    weights: dict[str, Tensor] = {}

    def matrix(name: str, rows: int, columns: int) -> None:
        scale = 1.5 / columns**0.5
        weights[name] = torch.randn(rows, columns, generator=generator) * scale

    def norm(name: str, size: int) -> None:
        weights[name] = torch.rand(size, generator=generator) + 0.5

    matrix("model.embed_tokens.weight", shape.vocab_size, shape.hidden_size)
    queries, keys = shape.num_heads * shape.head_dim, shape.num_kv_heads * shape.head_dim
    for layer in range(shape.num_layers):
        at = f"model.layers.{layer}"
        norm(f"{at}.input_layernorm.weight", shape.hidden_size)
        for part, rows in (("q", queries), ("k", keys), ("v", keys)):
            matrix(f"{at}.self_attn.{part}_proj.weight", rows, shape.hidden_size)
        matrix(f"{at}.self_attn.o_proj.weight", shape.hidden_size, queries)
        if shape.qk_norm:
            norm(f"{at}.self_attn.q_norm.weight", shape.head_dim)
            norm(f"{at}.self_attn.k_norm.weight", shape.head_dim)
        norm(f"{at}.post_attention_layernorm.weight", shape.hidden_size)
        for part in ("gate", "up"):
            matrix(f"{at}.mlp.{part}_proj.weight", shape.intermediate_size, shape.hidden_size)
        matrix(f"{at}.mlp.down_proj.weight", shape.hidden_size, shape.intermediate_size)
    norm("model.norm.weight", shape.hidden_size)
    if not shape.tied:
        matrix("lm_head.weight", shape.vocab_size, shape.hidden_size)
    return weights


def write_checkpoint(folder: Path, shape: Shape, *, seed: int = 0) -> dict[str, Tensor]:
    """``config.json`` and ``model.safetensors``; gives the weights."""
    weights = random_weights(shape, seed=seed)
    save_file(weights, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(shape.config()), encoding="utf-8")
    return weights
