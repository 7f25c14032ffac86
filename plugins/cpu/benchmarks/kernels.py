"""Every kernel with its time and its share of the roof, all measured in the same rounds.

Memory: a plain read of the same bytes by the same threads. Arithmetic: torch's own bfloat16 product
of the same shape, in oneDNN's layout; for attention, of as many sums. Shapes are Qwen3-0.6B's.
Weights are larger than the caches.

python benchmarks/kernels.py [--rounds 15] [--threads N] [--only gemv,gemm,...] [--json]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import torch
import unisono_cpu as uc

SHAPES = {"qkv": (4096, 1024), "o": (1024, 2048), "gate_up": (6144, 1024), "down": (1024, 3072)}
FORMATS = [("bf16", None), ("int8", None), ("int8", 32), ("int4", 32), ("int4", 128), ("int4z", 32)]
COLD_BYTES = 200_000_000
NUM_KV_HEADS, NUM_HEADS, HEAD_DIM = 8, 16, 128


@dataclass
class Case:
    """``run`` is timed beside ``roof``, which moves the same bytes or does the same sums."""

    name: str
    run: Callable[[], object]
    roof: Callable[[], object]
    num_bytes: float = 0.0
    flops: float = 0.0
    calls: int = 1


@dataclass
class Result:
    name: str
    microseconds: float
    gigabytes_per_second: float
    gigaflops: float
    share_of_roof: float


def seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def measure(case: Case, rounds: int) -> Result:
    pairs = [(seconds(case.run), seconds(case.roof)) for _ in range(rounds)]
    best, roof = (min(column) for column in zip(*pairs, strict=True))
    return Result(
        case.name, best / case.calls * 1e6, case.num_bytes / best / 1e9, case.flops / best / 1e9,
        roof / best,
    )  # fmt: skip


def copies(packed: uc.PackedWeight) -> tuple[torch.Tensor, list[uc.PackedWeight]]:
    """The weight many times over in one buffer, so that no cache holds them all."""
    size = packed.num_bytes
    count = max(1, COLD_BYTES // size)
    room = torch.empty(count * size + 4096, dtype=torch.uint8)
    room = room[-room.data_ptr() % 4096 :][: count * size]
    room.view(count, size).copy_(packed.blob)
    return room, [uc.PackedWeight(part) for part in room.split(size)]


def gemv() -> Iterator[Case]:
    shapes = {**SHAPES, "head": (151936, 1024)}
    for format, group in FORMATS:
        for name, (outputs, inputs) in shapes.items():
            packed = uc.pack(torch.randn(outputs, inputs) * 0.02, format, group)
            room, weights = copies(packed)
            x = torch.randn(1, inputs).bfloat16()
            yield Case(
                f"gemv {format}/{group or 'row'} {name}",
                lambda weights=weights, x=x: [uc.linear(x, weight) for weight in weights],
                lambda room=room: uc.read(room),
                room.numel(),
                2.0 * outputs * inputs * len(weights),
                len(weights),
            )


def gemm() -> Iterator[Case]:
    for rows in (8, 32, 512):
        for format, group in FORMATS:
            for name, (outputs, inputs) in SHAPES.items():
                weight = torch.randn(outputs, inputs).bfloat16() * 0.02
                packed, x = uc.pack(weight, format, group), torch.randn(rows, inputs).bfloat16()
                theirs = torch.ops.mkldnn._reorder_linear_weight(weight, None)
                yield Case(
                    f"gemm {rows} {format}/{group or 'row'} {name}",
                    lambda x=x, packed=packed: uc.linear(x, packed),
                    lambda x=x, theirs=theirs: torch.ops.mkldnn._linear_pointwise(
                        x, theirs, None, "none", [], ""
                    ),
                    packed.num_bytes,
                    2.0 * rows * outputs * inputs,
                )


KV_BLOCK, KV_TOKENS = 32, 8 * 32768
TOKEN_BYTES = 2 * NUM_KV_HEADS * HEAD_DIM


def random_kv() -> torch.Tensor:
    """A cache for KV_TOKENS tokens, a short random piece of it many times over."""
    kv = torch.empty(2, KV_TOKENS // KV_BLOCK, KV_BLOCK, NUM_KV_HEADS, HEAD_DIM).bfloat16()
    piece = torch.randn(2, 64, *kv.shape[2:]).bfloat16()
    for start in range(0, kv.shape[1], 64):
        kv[:, start : start + 64] = piece
    return kv


def steps_over(tokens: int, batch: int, queries: int, context: int) -> list[uc.PagedStep]:
    """Steps that together see the cache's first ``tokens``, each another part."""
    blocks = context // KV_BLOCK
    tables = [list(range(start, start + blocks)) for start in range(0, tokens // KV_BLOCK, blocks)]
    return [
        uc.PagedStep([queries] * batch, [context] * batch, tables[first : first + batch], None)
        for first in range(0, len(tables), batch)
    ]


def decode_attention(kv: torch.Tensor) -> Iterator[Case]:
    """Beside a read of the same keys and values, that no cache holds."""
    for batch in (1, 8):
        for context in (512, 2048, 8192, 32768):
            seen = batch * context
            tokens = seen * max(1, COLD_BYTES // (2 * TOKEN_BYTES * seen))
            steps = steps_over(tokens, batch, 1, context)
            query = torch.randn(batch, NUM_HEADS, HEAD_DIM).bfloat16()
            yield Case(
                f"attention {batch} x 1 of {context}",
                lambda query=query, steps=steps: [
                    uc.attention(query, kv, step, scale=0.09) for step in steps
                ],
                lambda tokens=tokens: [uc.read(half[: tokens // KV_BLOCK]) for half in kv],
                2.0 * TOKEN_BYTES * tokens,
                4.0 * NUM_HEADS * HEAD_DIM * tokens,
                len(steps),
            )


def prefill_attention(kv: torch.Tensor) -> Iterator[Case]:
    """Beside torch's product with as many sums."""
    for queries, context in ((512, 512), (512, 8192), (2048, 2048), (8192, 8192)):
        (step,) = steps_over(context, 1, queries, context)
        query = torch.randn(queries, NUM_HEADS, HEAD_DIM).bfloat16()
        seen = sum(context - queries + i + 1 for i in range(queries))
        flops = 4.0 * seen * NUM_HEADS * HEAD_DIM
        x = torch.randn(512, 2048).bfloat16()
        weight = torch.randn(round(flops / (2 * 512 * 2048)), 2048).bfloat16()
        theirs = torch.ops.mkldnn._reorder_linear_weight(weight, None)
        yield Case(
            f"attention {queries} of {context}",
            lambda query=query, step=step: uc.attention(query, kv, step, scale=0.09),
            lambda x=x, theirs=theirs: torch.ops.mkldnn._linear_pointwise(
                x, theirs, None, "none", [], ""
            ),
            2.0 * TOKEN_BYTES * context,
            flops,
        )


def attention() -> Iterator[Case]:
    kv = random_kv()
    yield from decode_attention(kv)
    yield from prefill_attention(kv)


def rows() -> Iterator[Case]:
    x, gate_up = torch.randn(512, 1024).bfloat16(), torch.randn(512, 6144).bfloat16()
    residual, weight = torch.randn(512, 1024), torch.ones(1024)
    yield Case(
        "add_rms_norm 512 x 1024",
        lambda: uc.add_rms_norm(x, residual, weight, 1e-6),
        lambda: (uc.read(x), uc.read(residual)),
        x.numel() * 12.0,
    )
    yield Case(
        "silu_mul 512 x 6144", lambda: uc.silu_mul(gate_up), lambda: uc.read(gate_up),
        gate_up.numel() * 3.0,
    )  # fmt: skip


def sampling() -> Iterator[Case]:
    logits = torch.randn(8, 151936) * 3
    uniforms = torch.rand(8)
    plain = {"top_k": [0] * 8, "top_p": [1.0] * 8, "min_p": [0.0] * 8}
    for name, options in (
        ("plain", {}), ("top-p 0.95", {"top_p": [0.95] * 8}), ("top-k 50", {"top_k": [50] * 8}),
    ):  # fmt: skip
        yield Case(
            f"draw 8 x 151936 {name}",
            lambda options=options: uc.draw(logits, uniforms, **{**plain, **options}),
            lambda: uc.read(logits),
            logits.numel() * 4.0,
        )
    yield Case(
        "argmax 8 x 151936", lambda: uc.argmax(logits), lambda: uc.read(logits),
        logits.numel() * 4.0,
    )  # fmt: skip


GROUPS = {"gemv": gemv, "gemm": gemm, "attention": attention, "rows": rows, "sampling": sampling}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--only", default=",".join(GROUPS), help="some of " + ", ".join(GROUPS))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    uc.set_threads(options.threads)
    results = []
    if not options.json:
        print(f"{uc.isa()}, {uc.threads()} threads")
        print(f"{'':32} {'us':>10} {'GB/s':>8} {'GFLOP/s':>9} {'of roof':>8}")
    for name in options.only.split(","):
        for case in GROUPS[name]():
            result = measure(case, options.rounds)
            results.append(result)
            if not options.json:
                print(
                    f"{result.name:32} {result.microseconds:10.1f} "
                    f"{result.gigabytes_per_second:8.1f} {result.gigaflops:9.0f} "
                    f"{result.share_of_roof:8.0%}",
                    flush=True,
                )
    if options.json:
        print(json.dumps({"isa": uc.isa(), "threads": uc.threads(),
                          "results": [asdict(result) for result in results]}))  # fmt: skip


if __name__ == "__main__":
    main()
