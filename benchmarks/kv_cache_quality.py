"""Compares log-probabilities with an 8-bit KV cache and with one in the model's dtype.

    python benchmarks/kv_cache_quality.py [--context 16384]

The built-in demo model scores the expected answers to its held-out messages, English and Chinese.
A small random model, whose attention is sharp and which nothing has taught to bear noise, scores
random tokens over a long context: there the question is whether the difference grows with it.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))
import torch
from demo_model import testsets
from transformers import Qwen3Config, Qwen3ForCausalLM

from unisono import LLM, SamplingParams
from unisono.core import EngineConfig, Request
from unisono.engine import build_engine

TEST_SEED = 20261122
SCORE = SamplingParams(max_tokens=0, prompt_logprobs=0)
KV_DTYPES = ("auto", "int8", "fp8")
PARTS = 4


def demo_logprobs(kv_dtype: str) -> dict[str, list[float]]:
    """Log-probabilities of every token of the expected answers, by language."""
    llm = LLM(dtype="float32", kv_dtype=kv_dtype, kv_memory="256MiB")
    found: dict[str, list[float]] = {}
    for case in testsets.all_test_sets(TEST_SEED)["held_out"]:
        prompt = llm.tokenizer.encode_chat(list(case.messages))
        text = json.dumps(case.expected, ensure_ascii=False, separators=(",", ":"))
        answer = llm.tokenizer.encode(text, add_special_tokens=False)
        (done,) = llm.generate([[*prompt, *answer]], SCORE)
        entries = (done.prompt_logprobs or [])[len(prompt) :]
        found.setdefault(case.language, []).extend(entry.logprob for entry in entries if entry)
    return found


def random_logprobs(folder: Path, kv_dtype: str, context: int) -> list[float]:
    """Log-probabilities of random tokens, in order."""
    engine = build_engine(
        folder,
        EngineConfig(device="cpu", dtype="float32", kv_dtype=kv_dtype, kv_memory=256 << 20),
    )
    generator = torch.Generator().manual_seed(1)
    prompt = torch.randint(3, 512, (context,), generator=generator).tolist()
    engine.add(Request(id="0", prompt_token_ids=tuple(prompt), params=SCORE))
    outputs = []
    while engine.has_work:
        outputs += engine.step()
    return [entry.logprob for entry in outputs[-1].prompt_logprobs or [] if entry]


def random_model(folder: Path, context: int) -> Path:
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=512,
        hidden_size=64,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        intermediate_size=128,
        max_position_embeddings=context,
        initializer_range=0.3,
        eos_token_id=None,
        bos_token_id=None,
    )
    Qwen3ForCausalLM(config).save_pretrained(folder)
    return folder


def figures(ours: list[float], exact: list[float]) -> str:
    differences = [abs(a - b) for a, b in zip(ours, exact, strict=True)]
    perplexity = math.exp(-sum(ours) / len(ours))
    mean, largest = sum(differences) / len(differences), max(differences)
    return f"{len(ours)} | {perplexity:.4f} | {mean:.5f} | {largest:.3f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--context", type=int, default=16_384)
    options = parser.parse_args()
    print("| text | KV cache | tokens | perplexity | mean logprob diff. | largest |")
    print("|---|---|---|---|---|---|")
    demo = {kv_dtype: demo_logprobs(kv_dtype) for kv_dtype in KV_DTYPES}
    for language, exact in demo["auto"].items():
        for kv_dtype in KV_DTYPES:
            print(f"| demo, {language} | {kv_dtype} | {figures(demo[kv_dtype][language], exact)}")
    with tempfile.TemporaryDirectory() as name:
        folder = random_model(Path(name), options.context)
        long = {d: random_logprobs(folder, d, options.context) for d in KV_DTYPES}
    size = -(-len(long["auto"]) // PARTS)
    for at in range(0, size * PARTS, size):
        for kv_dtype in KV_DTYPES:
            part = figures(long[kv_dtype][at : at + size], long["auto"][at : at + size])
            print(f"| random, from token {at} | {kv_dtype} | {part}")


if __name__ == "__main__":
    main()
