"""Throughput of embedding, beside transformers with pooling by hand, in one process and by turns.

``python benchmarks/embeddings.py FOLDER [--texts 256] [--tokens 128] [--mixed] [--rounds 3]``

FOLDER is a checkpoint that transformers loads, such as ``random_checkpoint.py`` makes. Both are
given token ids; transformers gets batches of 32, sorted by length and padded at their end, which is
what sentence-transformers does. The vectors are compared. Times are of this process's own
computing, so that other work on the machine counts for less.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from transformers import AutoModel

from unisono.core import EngineConfig, Request, SamplingParams
from unisono.core.pooling import Pooling, read_numbers
from unisono.engine import build_engine

HOW = Pooling(kind="last", normalize=True)
BATCH = 32
Embed = Callable[[list[list[int]]], torch.Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--texts", type=int, default=256)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--mixed", action="store_true", help="lengths from 1 to --tokens")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--weights", default="auto")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    config = EngineConfig(
        dtype=options.dtype, weights=options.weights, threads=options.threads, task="embed"
    )
    ours, theirs = with_unisono(options.folder, config), with_transformers(options.folder, options)
    draw = random.Random(0)
    times: dict[str, list[float]] = {"unisono": [], "transformers": []}
    for _ in range(options.rounds):
        lengths = [
            draw.randint(1, options.tokens) if options.mixed else options.tokens
            for _ in range(options.texts)
        ]
        texts = [[draw.randrange(1000) for _ in range(length)] for length in lengths]
        found = {}
        for name, embed in (("unisono", ours), ("transformers", theirs)):
            began = time.process_time()
            found[name] = embed(texts)
            times[name].append(time.process_time() - began)
            print(f"{name}: {sum(lengths) / times[name][-1]:.0f} tok/s", flush=True)
        likeness = F.cosine_similarity(found["unisono"], found["transformers"]).min()
        print(f"least cosine {likeness:.5f}", flush=True)
    pairs = zip(times["transformers"], times["unisono"], strict=True)
    ratio = statistics.median(theirs / ours for theirs, ours in pairs)
    print(f"transformers' time over ours, median of pairs: {ratio:.2f}")


def with_unisono(folder: Path, config: EngineConfig) -> Embed:
    engine = build_engine(folder, config)

    def embed(texts: list[list[int]]) -> torch.Tensor:
        for index, text in enumerate(texts):
            params = SamplingParams(max_tokens=0)
            engine.add(
                Request(id=str(index), prompt_token_ids=tuple(text), params=params, pooling=HOW)
            )
        done = {}
        while engine.has_work:
            for output in engine.step():
                assert output.pooled is not None, output.error
                done[output.request_id] = read_numbers(output.pooled)
        return torch.tensor([done[str(index)] for index in range(len(texts))])

    return embed


def with_transformers(folder: Path, options: argparse.Namespace) -> Embed:
    dtype = getattr(torch, options.dtype)
    model = AutoModel.from_pretrained(folder, dtype=dtype).eval()

    @torch.inference_mode()
    def embed(texts: list[list[int]]) -> torch.Tensor:
        order = sorted(range(len(texts)), key=lambda index: -len(texts[index]))
        vectors: dict[int, torch.Tensor] = {}
        for start in range(0, len(order), BATCH):
            part = order[start : start + BATCH]
            longest = len(texts[part[0]])
            ids = torch.zeros(len(part), longest, dtype=torch.long)
            mask = torch.zeros_like(ids)
            for row, index in enumerate(part):
                ids[row, : len(texts[index])] = torch.tensor(texts[index])
                mask[row, : len(texts[index])] = 1
            hidden = model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
            last = hidden[torch.arange(len(part)), mask.sum(1) - 1].float()
            vectors |= dict(zip(part, F.normalize(last, dim=-1), strict=True))
        return torch.stack([vectors[index] for index in range(len(texts))])

    return embed


if __name__ == "__main__":
    main()
