"""Medians, ratios and the table of compare_cpu.py."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any, TextIO

FIGURES = ("prefill", "decode", "batch_decode", "wide_decode", "long_decode")
RATIOS = (
    ("decode", "unisono-int4", "llama-q4_0"),
    ("decode", "unisono-int8", "llama-q8_0"),
    ("decode", "unisono-bf16", "llama-bf16"),
    ("decode", "unisono-int4", "openvino-int4"),
    ("decode", "unisono-bf16", "transformers-bf16"),
    ("decode", "unisono-int4-g128", "openvino-int4"),
    ("prefill", "unisono-int4", "openvino-int4"),
    ("prefill", "unisono-int4-g128", "openvino-int4"),
    ("prefill", "unisono-int8", "openvino-int4"),
    ("prefill", "unisono-int4", "llama-q4_0"),
    ("prefill", "unisono-int8", "llama-q8_0"),
    ("prefill", "unisono-bf16", "llama-bf16"),
    ("prefill", "unisono-bf16", "transformers-bf16"),
    ("batch_decode", "unisono-int4", "llama-q4_0"),
    ("batch_decode", "unisono-int4", "openvino-int4"),
    ("batch_decode", "unisono-int8", "llama-q8_0"),
    ("batch_decode", "unisono-bf16", "llama-bf16"),
    ("wide_decode", "unisono-int4", "llama-q4_0"),
    *((figure, "unisono-gguf", "llama-gguf") for figure in FIGURES),
    ("long_decode", "unisono-int4", "llama-q4_0"),
    ("long_decode", "unisono-int4", "openvino-int4"),
)
"""Figure, ours, theirs."""

Rows = dict[str, dict[str, list[float]]]
"""Engine -> figure -> tokens/s of each round."""


def ratios(rows: Rows) -> list[dict[str, Any]]:
    """Ratios of pairs measured in one round: median, least and greatest."""
    found = []
    for figure, ours, theirs in RATIOS:
        pairs = zip(
            rows.get(ours, {}).get(figure, []), rows.get(theirs, {}).get(figure, []), strict=False
        )
        values = [a / b for a, b in pairs]
        if values:
            found.append(
                {
                    "figure": figure,
                    "ours": ours,
                    "theirs": theirs,
                    "median": statistics.median(values),
                    "least": min(values),
                    "greatest": max(values),
                }
            )
    return found


def summary(
    rows: dict[str, list[float]],
    step_bytes: int | None,
    flops_per_token: float | None,
    roofs: dict[str, float],
) -> dict[str, float]:
    """Median tokens/s of each figure. Two of them are also given as shares of the machine's roofs,
    where the work of a token is known."""
    found = {figure: statistics.median(values) for figure, values in rows.items() if values}
    if "prefill" in found and flops_per_token is not None:
        found["prefill_share"] = found["prefill"] * flops_per_token / roofs["matmul"]
    if "decode" in found and step_bytes is not None:
        found["decode_share"] = found["decode"] * step_bytes / roofs["read"]
    return found


def show(result: dict[str, Any], stream: TextIO) -> None:
    lines = [*table(result), "", *ratio_lines(result), "", *remarks(result)]
    print("\n".join(lines), file=stream)


def table(result: dict[str, Any]) -> Iterator[str]:
    work = result["workload"]
    columns = {
        f"prefill {work['prompt']} tok/s": ("prefill", ".1f"),
        "of the bf16 GEMM rate": ("prefill_share", ".0%"),
        f"decode at {work['short']} tok/s": ("decode", ".2f"),
        "weights of the read rate": ("decode_share", ".0%"),
        f"batch-{work['batch']} decode tok/s": ("batch_decode", ".1f"),
        f"batch-{work['wide']} decode tok/s": ("wide_decode", ".1f"),
        f"decode at {work['long']} tok/s": ("long_decode", ".2f"),
    }
    yield f"| engine and weights | {' | '.join(columns)} | weights a step, GB | peak RSS, GB |"
    yield "|---" * (len(columns) + 3) + "|"
    for name, engine in result["engines"].items():
        figures = engine["summary"]
        cells = [
            format(figures[key], form) if key in figures else "" for key, form in columns.values()
        ]
        sizes = [engine["step_bytes"], engine["peak_rss_bytes"]]
        cells += ["" if size is None else f"{size / 1e9:.2f}" for size in sizes]
        yield f"| {' | '.join([name, *cells])} |"


def ratio_lines(result: dict[str, Any]) -> Iterator[str]:
    for ratio in result["ratios"]:
        yield (
            f"{ratio['figure'].replace('_', ' '):13}{ratio['ours']:>18} / {ratio['theirs']:18}"
            f"{ratio['median']:6.2f}   ({ratio['least']:.2f} to {ratio['greatest']:.2f})"
        )


def remarks(result: dict[str, Any]) -> Iterator[str]:
    for name, unit in (("read", "GB/s"), ("matmul", "GFLOP/s")):
        values = [roofs[name] / 1e9 for roofs in result["roofs"]]
        yield (
            f"{name} rate {statistics.median(values):.1f} {unit}, "
            f"from {min(values):.1f} to {max(values):.1f}"
        )
    busiest = max(result["engines"].values(), key=lambda engine: engine["idle_share"])
    yield f"processors that a waiting engine kept busy: at most {busiest['idle_share']:.3f}"
    for name, reason in result["left_out"].items():
        yield f"left out: {name}: {reason}"
