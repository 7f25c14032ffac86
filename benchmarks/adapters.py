"""Measures what adapters cost: steps of a batch in which each row has one, beside the same without.

    python benchmarks/adapters.py --shape 0.6b --ranks 4,4,8,8,8,12,16,16 --rows 16

Makes a model of random weights and adapters of random numbers. Both kinds of rounds run in turn in
one process, and are compared by processor time and by wall time, round by round: the median ratio
and its range are printed, so that other programs on the machine disturb both alike.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

from unisono.core import EngineConfig, Request, SamplingParams
from unisono.engine import Engine, build_engine

SHAPES = {  # hidden, inner, layers, heads, key-value heads; heads of 128
    "0.6b": (1024, 3072, 28, 16, 8),
    "1.7b": (2048, 6144, 28, 16, 8),
    "tiny": (256, 768, 4, 2, 1),
}
HEAD, VOCABULARY = 128, 32768
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
MLP = ("gate_proj", "up_proj", "down_proj")


def modules_of(shape: str) -> dict[str, tuple[int, int]]:
    hidden, inner, layers, heads, kv_heads = SHAPES[shape]
    own = {
        "self_attn.q_proj": (heads * HEAD, hidden),
        "self_attn.k_proj": (kv_heads * HEAD, hidden),
        "self_attn.v_proj": (kv_heads * HEAD, hidden),
        "self_attn.o_proj": (hidden, heads * HEAD),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
    }
    return {f"model.layers.{i}.{name}": size for i in range(layers) for name, size in own.items()}


def write_model(folder: Path, shape: str) -> None:
    hidden, inner, layers, heads, kv_heads = SHAPES[shape]
    config = {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "vocab_size": VOCABULARY,
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": HEAD,
        "max_position_embeddings": 1024,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
    }
    shapes: dict[str, tuple[int, ...]] = dict(modules_of(shape))
    for i in range(layers):
        for name in ("input_layernorm", "post_attention_layernorm"):
            shapes[f"model.layers.{i}.{name}"] = (hidden,)
        for name in ("q_norm", "k_norm"):
            shapes[f"model.layers.{i}.self_attn.{name}"] = (HEAD,)
    shapes |= {"model.embed_tokens": (VOCABULARY, hidden), "model.norm": (hidden,)}
    tensors = {
        f"{name}.weight": torch.ones(size, dtype=torch.bfloat16)
        if len(size) == 1
        else torch.empty(size, dtype=torch.bfloat16).normal_(std=0.03)
        for name, size in shapes.items()
    }
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))


def write_adapter(folder: Path, shape: str, rank: int, targets: list[str]) -> None:
    folder.mkdir()
    tensors = {}
    for name, (rows, columns) in modules_of(shape).items():
        if name.rpartition(".")[2] in targets:
            for side, size in (("A", (rank, columns)), ("B", (rows, rank))):
                numbers = torch.empty(size, dtype=torch.bfloat16).normal_(std=0.02)
                tensors[f"base_model.model.{name}.lora_{side}.weight"] = numbers
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": rank, "target_modules": targets}
    (folder / "adapter_config.json").write_text(json.dumps(config))


def round_of(engine: Engine, names: list[str], tokens: int) -> tuple[float, float]:
    """Processor time and wall time of ``tokens`` decode steps, one row a name."""
    params = SamplingParams(temperature=0.0, max_tokens=tokens + 1, ignore_eos=True)
    for i, name in enumerate(names):
        prompt = tuple((7 * i + j) % VOCABULARY for j in range(8))
        engine.add(Request(id=str(i), prompt_token_ids=prompt, params=params, adapter=name))
    engine.step()
    used, began = time.process_time(), time.perf_counter()
    while engine.has_work:
        engine.step()
    return time.process_time() - used, time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shape", choices=SHAPES, default="0.6b")
    parser.add_argument("--ranks", default="4,4,8,8,8,12,16,16")
    parser.add_argument("--targets", default=",".join((*ATTENTION, *MLP)))
    parser.add_argument("--weights", default="auto")
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--without", type=int, default=0, help="rows of these without an adapter")
    parser.add_argument("--tokens", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=None)
    given = parser.parse_args()
    ranks = [int(rank) for rank in given.ranks.split(",")]
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "model"
        folder.mkdir()
        write_model(folder, given.shape)
        config = EngineConfig(
            device="cpu", kv_memory=256 << 20, max_adapters=len(ranks), prefix_cache=False,
            weights=given.weights, weight_cache=False, max_adapter_rank=max(ranks),
            threads=given.threads,
        )  # fmt: skip
        engine = build_engine(folder, config)
        for i, rank in enumerate(ranks):
            write_adapter(Path(root) / str(i), given.shape, rank, given.targets.split(","))
            engine.load_adapter(str(i), Path(root) / str(i))
        adapted = [str(i % len(ranks)) for i in range(given.rows - given.without)]
        names = adapted + [""] * given.without
        round_of(engine, names, 2)
        ratios: list[tuple[float, float]] = []
        for _ in range(given.rounds):
            plain = round_of(engine, [""] * given.rows, given.tokens)
            with_them = round_of(engine, names, given.tokens)
            ratios.append((with_them[0] / plain[0], with_them[1] / plain[1]))
            rate = given.rows * given.tokens / plain[1]
            used, took = ratios[-1]
            print(f"processor {used:.3f}, wall {took:.3f}; {rate:.1f} tokens/s without")
        for what, values in zip(("processor", "wall"), zip(*ratios, strict=True), strict=True):
            middle = statistics.median(values)
            print(f"{what}: median {middle:.3f}, {min(values):.3f} to {max(values):.3f}")


if __name__ == "__main__":
    main()
