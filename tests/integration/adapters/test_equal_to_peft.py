"""Answers with an adapter are PEFT's, for every field of its configuration that is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests import adapters, checkpoints
from tests.adapters import ATTENTION
from tests.engines import engine, request, run
from unisono.core import SamplingParams

SCORED = SamplingParams(temperature=0.0, max_tokens=1, prompt_logprobs=0)
LLAMA: tuple[str, dict[str, Any]] = ("llama", {})
QWEN3: tuple[str, dict[str, Any]] = ("qwen3", {"head_dim": 16})
PHI3: tuple[str, dict[str, Any]] = ("phi3", {})
CASES: dict[str, tuple[tuple[str, dict[str, Any]], dict[str, Any]]] = {
    "dense": (LLAMA, {}),
    "head norms": (QWEN3, {"r": 3, "lora_alpha": 5}),
    "biases": (("qwen2", {}), {"target_modules": ["q_proj", "v_proj"]}),
    "rank-stabilised": (LLAMA, {"use_rslora": True, "r": 6, "lora_alpha": 10}),
    "patterns": (
        LLAMA,
        {
            "rank_pattern": {"q_proj": 2, r"layers\.1\.mlp\.down_proj": 9},
            "alpha_pattern": {"k_proj": 3, "^model.layers.2.self_attn.o_proj": 20},
        },
    ),
    "regular expression": (
        LLAMA,
        {"target_modules": r".*\.layers\.[02]\.(self_attn|mlp)\.(q_proj|up_proj)"},
    ),
    "all linear layers": (QWEN3, {"target_modules": "all-linear", "exclude_modules": ["k_proj"]}),
    "some layers": (
        LLAMA,
        {"layers_to_transform": [0, 2], "layers_pattern": "layers", "target_modules": ATTENTION},
    ),
    "whole names": (
        LLAMA,
        {"target_modules": ["model.layers.1.self_attn.v_proj"], "layers_to_transform": [0]},
    ),
    "merged projections": (PHI3, {"target_modules": "all-linear"}),
    "one merged projection": (PHI3, {"target_modules": ["qkv_proj"], "use_rslora": True}),
    "latent attention": (
        (
            "deepseek_v3",
            {
                "q_lora_rank": 24,
                "kv_lora_rank": 16,
                "qk_nope_head_dim": 16,
                "qk_rope_head_dim": 8,
                "v_head_dim": 16,
                "num_key_value_heads": 4,
                "first_k_dense_replace": 3,
            },
        ),
        {"target_modules": ["q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "o_proj"]},
    ),
    "text of a multimodal model": (
        ("gemma3", {"text_config": {"head_dim": 16}, "vision_config": {"num_hidden_layers": 1}}),
        {"target_modules": r".*language_model.*\.(q_proj|down_proj)"},
    ),
    "shared expert": (
        (
            "qwen2_moe",
            {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32,
             "shared_expert_intermediate_size": 48},
        ),
        {"target_modules": [*ATTENTION, "gate_proj", "up_proj", "down_proj"]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_equal(name: str, tmp_path: Path) -> None:
    (model_type, options), lora = CASES[name]
    model = checkpoints.oracle(model_type, **options)
    folder = checkpoints.save(model, tmp_path / "model")
    oracle = adapters.adapt(model, tmp_path / "adapter", **lora)
    served = engine(folder)
    served.load_adapter("own", tmp_path / "adapter")
    (prompt,) = checkpoints.prompts(40)
    done = run(served, [request("a", prompt, SCORED, adapter="own"), request("b", prompt, SCORED)])
    with_adapter, without = scores(done["a"]), scores(done["b"])
    theirs = of_prompt(adapters.logprobs(oracle, prompt), prompt)
    with oracle.disable_adapter():
        base = of_prompt(adapters.logprobs(oracle, prompt), prompt)
    assert (with_adapter - theirs).abs().max() <= 2e-4 * theirs.abs().max()
    assert (without - base).abs().max() <= 2e-4 * base.abs().max()
    assert (theirs - base).abs().max() > 0.05


def scores(output: Any) -> torch.Tensor:
    return torch.tensor([entry.logprob for entry in output.prompt_logprobs[1:]])


def of_prompt(logprobs: torch.Tensor, prompt: list[int]) -> torch.Tensor:
    return logprobs[:-1].gather(1, torch.tensor(prompt[1:]).unsqueeze(1)).squeeze(1)
