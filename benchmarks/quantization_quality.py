"""Measures the quality lost by each format of weights or KV cache, on the demo model.

    python benchmarks/quantization_quality.py [--weights auto,int8,int4,...] [--json]
    python benchmarks/quantization_quality.py --weights auto --kv-dtype auto,int8,fp8

The demo model answers messages whose right answers are known: 560 with phrasings and values that
its training never saw, and 55 written by hand. Beside exactness, field by field, the expected
answers are scored: perplexity, and the mean difference of their log-probabilities to the float32
model's. Everything else is float32, so that the format alone makes the difference.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))
from demo_model import evaluation, testsets

from unisono import LLM, SamplingParams

TEST_SEED = 20261122
FORMATS = "auto,int8,int8-g32,int4,int4-g64,int4-g128,int4-asym,int4-asym-g64,int4-asym-g128"
COLUMNS = ("valid_json", "industry", "category", "urgency", "entities", "exact_match")


class Subject:
    """The demo model with one format of weights and one of the cache."""

    def __init__(self, weights: str, kv_dtype: str) -> None:
        self.llm = LLM(
            dtype="float32",
            weights=weights,
            kv_dtype=kv_dtype,
            kv_memory="512MiB",
            max_num_seqs=32,
        )

    def answer(self, cases: list[testsets.Case]) -> list[str]:
        prompts = [self.llm.tokenizer.encode_chat(list(case.messages)) for case in cases]
        params = SamplingParams(max_tokens=224, temperature=0.0)
        return [done.text for done in self.llm.generate(prompts, params)]

    def logprobs(self, cases: list[testsets.Case]) -> list[float]:
        """Log-probabilities of every token of the expected answers."""
        params = SamplingParams(max_tokens=0, prompt_logprobs=0)
        found: list[float] = []
        for case in cases:
            prompt = self.llm.tokenizer.encode_chat(list(case.messages))
            text = json.dumps(case.expected, ensure_ascii=False, separators=(",", ":"))
            answer = self.llm.tokenizer.encode(text, add_special_tokens=False)
            (done,) = self.llm.generate([[*prompt, *answer]], params)
            entries = (done.prompt_logprobs or [])[len(prompt) :]
            found += [entry.logprob for entry in entries if entry]
        return found


def measure(
    weights: str, kv_dtype: str, sets: dict[str, list[testsets.Case]], exact: list[float]
) -> dict[str, Any]:
    subject = Subject(weights, kv_dtype)
    logprobs = subject.logprobs(sets["held_out"])
    exact = exact or logprobs
    info = subject.llm.engine.info
    result: dict[str, Any] = {
        "weights": info.weight_format,
        "kv_dtype": info.kv_dtype,
        "step_weight_bytes": info.step_weight_bytes,
        "perplexity": math.exp(-sum(logprobs) / len(logprobs)),
        "logprob_difference": sum(
            abs(ours - theirs) for ours, theirs in zip(logprobs, exact, strict=True)
        )
        / len(logprobs),
        "logprobs": logprobs,
    }
    for name, cases in sets.items():
        outcomes = evaluation.run(subject, cases, lambda _: None)  # type: ignore[arg-type]
        result[name] = evaluation.field_scores(outcomes)
    subject.llm.close()
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", default=FORMATS, help="formats, with commas; auto comes first")
    parser.add_argument("--kv-dtype", default="auto", help="of the cache, with commas")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    everything = testsets.all_test_sets(TEST_SEED)
    sets = {name: everything[name] for name in ("held_out", "handwritten")}
    results: list[dict[str, Any]] = []
    for weights in options.weights.split(","):
        for kv_dtype in options.kv_dtype.split(","):
            exact = results[0]["logprobs"] if results else []
            results.append(measure(weights, kv_dtype, sets, exact))
            print(f"measured {weights}, KV cache {kv_dtype}", file=sys.stderr)
    for result in results:
        del result["logprobs"]
    print(json.dumps(results, indent=2) if options.json else table(results))


def table(results: list[dict[str, Any]]) -> str:
    head = ["weights", "KV cache", "MB a step", "perplexity", "logprob diff.", *COLUMNS]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for result in results:
        cells = [
            result["weights"],
            result["kv_dtype"],
            f"{result['step_weight_bytes'] / 1e6:.2f}",
            f"{result['perplexity']:.4f}",
            f"{result['logprob_difference']:.4f}",
        ]
        for column in COLUMNS:
            held_out, handwritten = (result[s][column] for s in ("held_out", "handwritten"))
            cells.append(f"{held_out:.1%} ({handwritten:.1%})")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
