"""The figures of ``unisono bench``, for people."""

from __future__ import annotations

import sys
from typing import Any

from unisono.cli.shown_text import middle_dot
from unisono.core.config import format_bytes


def print_tables(result: dict[str, Any]) -> None:
    """Prints what ran where, what the device can do, and a line for each batch size."""
    from unisono.cli.tables import new_console, new_table, print_line, print_table

    console = new_console()
    for line in _headings(result):
        print_line(console, line)
    predicted = _is_predicted(result)
    table = new_table(*_COLUMNS, *(_PREDICTED_COLUMNS if predicted else ()), numbers=True)
    for batch in result["batches"]:
        table.add_row(*_cells(batch), *(_predicted_cells(batch) if predicted else ()))
    console.print()
    print_table(console, table)
    console.print()


def print_legend(results: list[dict[str, Any]]) -> None:
    """Prints the meaning of the columns."""
    from unisono.cli.tables import new_console, print_line

    predicted = any(_is_predicted(result) for result in results)
    legend = _LEGEND + (_PREDICTED_LEGEND if predicted else "")
    print_line(new_console(), legend, "dim")


def _is_predicted(result: dict[str, Any]) -> bool:
    return any("predicted_prefill_tokens_per_s" in batch for batch in result["batches"])


_LEGEND = (
    "TTFT: time to the first token. TPOT: of a step in which all decode. overhead: all but the"
    " model's forward pass."
    " of roof: prefill's products, of the rate at which this device multiplies; and decode's reads"
    " of weights and KV cache, of the rate at which it reads."
)
_PREDICTED_COLUMNS = ("predicted prefill tok/s", "predicted decode tok/s")
_PREDICTED_LEGEND = (
    " predicted: no measurement, but the most that the published figures of the imitated chip"
    " allow (`unisono specs`); launches and waiting are not in it."
)
_COLUMNS = (
    "batch",
    "TTFT",
    "prefill tok/s",
    "of roof",
    "TPOT",
    "decode tok/s",
    "of roof",
    "overhead",
)


def _format(engine: dict[str, Any]) -> str:
    return "" if engine["weight_format"] == "auto" else f", weights {engine['weight_format']}"


def _kv_dtype(engine: dict[str, Any]) -> str:
    return "" if engine["kv_dtype"] == engine["dtype"] else f", KV cache {engine['kv_dtype']}"


def _headings(result: dict[str, Any]) -> list[str]:
    engine, environment, work = result["engine"], result["environment"], result["workload"]
    roofs, ranks = result["roofs"], engine["tensor_parallel"]
    dot = middle_dot(sys.stdout)
    weights = f"{format_bytes(engine['weight_bytes'])} of weights"
    return [
        f"{result['model']}{dot}{engine['model_type']}{dot}{engine['num_parameters'] / 1e6:.1f} M"
        f" parameters{dot}{engine['dtype']}{_format(engine)}{_kv_dtype(engine)}{dot}{weights}"
        + (f" on each of {ranks} ranks" if ranks > 1 else ""),
        f"{engine['device']}{dot}{result['device']}{dot}torch {environment['torch']}",
        f"prompt {work['num_prompt_tokens']}{dot}generate {work['num_generated_tokens']}"
        f"{dot}median of {work['repeat']}",
        f"this device now: reads {roofs['memory_read_bytes_per_s'] / 1e9:.1f} GB/s, multiplies"
        f" {roofs['products_per_s'] / 1e12:.3g} TFLOP/s ({roofs['products_of']})",
        *([f"note: {engine['note']}"] if engine["note"] else []),
        *_drafts(result["batches"]),
        *_fallbacks(result["fallbacks"]),
        *([f"no prediction: {result['prediction_note']}"] if result["prediction_note"] else []),
    ]


def _drafts(batches: list[dict[str, Any]]) -> list[str]:
    shares = [
        f"{batch['drafts_accepted_share']:.0%} in batch {batch['batch']}"
        for batch in batches
        if "drafts_accepted_share" in batch
    ]
    return [f"drafts accepted: {', '.join(shares)}"] if shares else []


def _fallbacks(counts: dict[str, int]) -> list[str]:
    """Lines about the shapes that no fast kernel covered, the most frequent first."""
    most = sorted(counts.items(), key=lambda entry: -entry[1])
    lines = [
        f"by the reference, not by a kernel: {what}, {count} times" for what, count in most[:4]
    ]
    return lines + ([f"... and {len(most) - 4} shapes more"] if len(most) > 4 else [])


def _predicted_cells(batch: dict[str, Any]) -> tuple[str, ...]:
    rates = (batch.get(f"predicted_{phase}_tokens_per_s") for phase in ("prefill", "decode"))
    return tuple("-" if rate is None else f"{rate:.0f}" for rate in rates)


def _cells(batch: dict[str, Any]) -> tuple[str, ...]:
    start = (
        str(batch["batch"]),
        f"{batch['first_token_s'] * 1e3:.0f} ms",
        f"{batch['prefill_tokens_per_s']:.0f}",
        f"{batch['compute_roof_share']:.0%}",
    )
    if "decode_tokens_per_s" not in batch:
        return (*start, "-", "-", "-", "-")
    return (
        *start,
        f"{batch['time_per_token_s'] * 1e3:.1f} ms",
        f"{batch['decode_tokens_per_s']:.1f}",
        f"{batch['memory_roof_share']:.0%}",
        f"{batch['overhead_share']:.1%}",
    )
