"""Prefill and batch-1 decode beside Hugging Face transformers, interleaved, medians and ratios.

    python benchmarks/random_checkpoint.py /tmp/qwen3-0.6b-shape
    python benchmarks/compare_transformers.py /tmp/qwen3-0.6b-shape

Both read the same bfloat16 checkpoint with plain torch on the same threads. Every round measures
the memory's read rate too, because on a shared machine it moves. Also reports which share of a
batch-8 decode step is not the model's forward pass.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from unisono.core import EngineConfig, Request, SamplingParams
from unisono.engine import Engine, build_engine

SEED = 0


def read_rate(buffer: torch.Tensor) -> float:
    """Bytes/s of a plain read."""
    started = time.perf_counter()
    buffer.max()
    return buffer.nbytes / (time.perf_counter() - started)


def prompt(length: int, vocab_size: int, seed: int) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, vocab_size, (length,), generator=generator).tolist()


class Theirs:
    """transformers' own ``generate``."""

    def __init__(self, folder: Path) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()

    @torch.inference_mode()
    def seconds(self, token_ids: list[int], count: int) -> float:
        ids = torch.tensor([token_ids])
        started = time.perf_counter()
        self.model.generate(ids, max_new_tokens=count, min_new_tokens=count, do_sample=False)
        return time.perf_counter() - started


class Ours:
    """The engine, in this process."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._next_id = 0

    def seconds(self, token_ids: list[int], count: int) -> float:
        params = SamplingParams(temperature=0.0, max_tokens=count, ignore_eos=True)
        self._next_id += 1
        self.engine.add(
            Request(id=f"b{self._next_id}", prompt_token_ids=tuple(token_ids), params=params)
        )
        started = time.perf_counter()
        while self.engine.has_work:
            self.engine.step()
        return time.perf_counter() - started

    def overhead_share(self, batch: int, length: int, count: int, params: dict[str, Any]) -> float:
        """Share of decode steps spent outside the forward pass."""
        for i in range(batch):
            self._next_id += 1
            token_ids = prompt(length, self.engine.info.vocab_size, 10_000 + self._next_id)
            sampling = SamplingParams(max_tokens=count, ignore_eos=True, **params)
            self.engine.add(
                Request(
                    id=f"b{self._next_id}",
                    prompt_token_ids=tuple(token_ids),
                    params=sampling,
                    seed=i,
                )
            )
        num_first = 0
        while num_first < batch:
            num_first += len(self.engine.step())
        self.engine.timings.reset()
        while self.engine.has_work:
            self.engine.step()
        return self.engine.timings.overhead_s / self.engine.timings.total_s


def measure(side: Any, length: int, count: int, vocab_size: int, seed: int) -> dict[str, float]:
    """A fresh prompt each time, so that no prefix cache helps."""
    first = side.seconds(prompt(length, vocab_size, seed), 1)
    whole = side.seconds(prompt(length, vocab_size, seed + 1), 1 + count)
    return {"prefill": length / first, "decode": count / (whole - first)}


def median(rows: list[dict[str, float]], key: str) -> float:
    return statistics.median(row[key] for row in rows)


def compare(args: argparse.Namespace) -> dict[str, Any]:
    torch.set_num_threads(args.threads)
    config = EngineConfig(device="cpu", dtype="bfloat16", kv_memory=2**30)
    ours = Ours(build_engine(args.folder, config))
    sides = {"unisono": ours, "transformers": Theirs(args.folder)}
    buffer = torch.zeros(64 * 2**20, dtype=torch.int64)
    info = ours.engine.info
    for side in sides.values():
        side.seconds(prompt(32, info.vocab_size, 1), 4)
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    rates = []
    for index in range(args.rounds):
        rates.append(read_rate(buffer))
        for name, side in sides.items():
            seed = 100 + index * 10
            rows[name].append(measure(side, args.prompt, args.generate, info.vocab_size, seed))
    bandwidth = statistics.median(rates)
    result: dict[str, Any] = {
        "threads": args.threads,
        "torch": torch.__version__,
        "read_GB_s": bandwidth / 1e9,
        "weight_GB": info.weight_bytes / 1e9,
    }
    for name in sides:
        result[name] = {key: median(rows[name], key) for key in ("prefill", "decode")}
        result[name]["share_of_read_rate"] = result[name]["decode"] * info.weight_bytes / bandwidth
    for key in ("prefill", "decode"):
        pairs = zip(rows["unisono"], rows["transformers"], strict=True)
        result[f"{key}_ratio"] = statistics.median(a[key] / b[key] for a, b in pairs)
    overhead: Callable[[dict[str, Any]], float] = lambda params: ours.overhead_share(  # noqa: E731
        8, args.prompt // 4, args.generate, params
    )
    result["overhead_share_batch_8_greedy"] = overhead({"temperature": 0.0})
    result["overhead_share_batch_8_top_p"] = overhead({"temperature": 0.8, "top_p": 0.95})
    return result


def show(result: dict[str, Any]) -> None:
    print(f"{'':14}{'prefill tok/s':>15}{'decode tok/s':>15}{'of read rate':>15}")
    for name in ("unisono", "transformers"):
        row = result[name]
        share = f"{row['share_of_read_rate']:.0%}"
        print(f"{name:14}{row['prefill']:15.1f}{row['decode']:15.2f}{share:>15}")
    print(f"{'ratio':14}{result['prefill_ratio']:15.2f}{result['decode_ratio']:15.2f}")
    print(f"read rate {result['read_GB_s']:.1f} GB/s, weights {result['weight_GB']:.2f} GB")
    for kind in ("greedy", "top_p"):
        print(
            f"outside the forward pass, batch 8, {kind}: "
            f"{result[f'overhead_share_batch_8_{kind}']:.1%}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--generate", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    result = compare(args)
    if args.json:
        print(json.dumps(result, indent=2))
    else:
        show(result)


if __name__ == "__main__":
    main()
