"""Medians, ratios and the table of compare_cpu.py."""

from __future__ import annotations

import statistics
from typing import Any

__all__ = ["FIGURES", "RATIOS", "ratios", "show", "summary"]

FIGURES = ("prefill", "decode", "batch_decode", "long_decode")
RATIOS = (
    ("decode", "unisono-int4", "llama-q4_0"),
    ("decode", "unisono-int8", "llama-q8_0"),
    ("decode", "unisono-bf16", "llama-bf16"),
    ("decode", "unisono-int4", "openvino-int4"),
    ("decode", "unisono-bf16", "transformers-bf16"),
    ("prefill", "unisono-int4", "openvino-int4"),
    ("prefill", "unisono-int8", "openvino-int4"),
    ("prefill", "unisono-int4", "llama-q4_0"),
    ("prefill", "unisono-bf16", "llama-bf16"),
    ("prefill", "unisono-bf16", "transformers-bf16"),
    ("batch_decode", "unisono-int4", "llama-q4_0"),
    ("batch_decode", "unisono-int4", "openvino-int4"),
    ("long_decode", "unisono-int4", "llama-q4_0"),
    ("long_decode", "unisono-int4", "openvino-int4"),
)
"""Figure, ours, theirs."""

Rows = dict[str, dict[str, list[float]]]
"""Engine -> figure -> tokens/s of each round."""


def ratios(rows: Rows) -> list[dict[str, Any]]:
    """Of pairs measured in one round: median, least and greatest."""
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
    rows: dict[str, list[float]], step_bytes: int, flops_per_token: float, roofs: dict[str, float]
) -> dict[str, float]:
    """Median tokens/s of each figure, and how near the machine's roofs two of them are."""
    medians = {figure: statistics.median(values) for figure, values in rows.items() if values}
    return {
        **medians,
        "decode_share_of_read_rate": medians["decode"] * step_bytes / roofs["read"],
        "prefill_share_of_matmul_rate": medians["prefill"] * flops_per_token / roofs["matmul"],
    }


def show(result: dict[str, Any]) -> None:
    work = result["workload"]
    print(
        f"| engine and weights | prefill {work['prompt']} tok/s | of the bf16 GEMM rate"
        f" | decode tok/s | of the read rate | batch-{work['batch']} decode tok/s"
        f" | decode at {work['long']} tok/s | weights a step, GB | peak RSS, GB |"
    )
    print("|---" * 9 + "|")
    for name, engine in result["engines"].items():
        print(table_row(name, engine))
    print()
    for ratio in result["ratios"]:
        print(
            f"{ratio['figure'].replace('_', ' '):13}{ratio['ours']:>13} / {ratio['theirs']:18}"
            f"{ratio['median']:6.2f}   ({ratio['least']:.2f} to {ratio['greatest']:.2f})"
        )
    print()
    for name, unit in (("read", "GB/s"), ("matmul", "GFLOP/s")):
        values = [roofs[name] / 1e9 for roofs in result["roofs"]]
        print(
            f"{name} rate {statistics.median(values):.1f} {unit}, "
            f"from {min(values):.1f} to {max(values):.1f}"
        )
    for name, reason in result["left_out"].items():
        print(f"left out: {name}: {reason}")


def table_row(name: str, engine: dict[str, Any]) -> str:
    figures = engine["summary"]
    cells = [
        name,
        f"{figures['prefill']:.1f}",
        f"{figures['prefill_share_of_matmul_rate']:.0%}",
        f"{figures['decode']:.2f}",
        f"{figures['decode_share_of_read_rate']:.0%}",
        f"{figures['batch_decode']:.1f}" if "batch_decode" in figures else "",
        f"{figures['long_decode']:.2f}" if "long_decode" in figures else "",
        f"{engine['about']['step_bytes'] / 1e9:.2f}",
        f"{engine['peak_rss_bytes'] / 1e9:.2f}",
    ]
    return f"| {' | '.join(cells)} |"
