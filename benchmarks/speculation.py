"""Speculative decoding beside plain decoding: the same answers, and the time that they take.

``python benchmarks/speculation.py [MODEL] [--speculate ngram] [--tokens 200] [--rounds 5]``

Texts are JSON that the prompt shows the beginning of, prose, and random tokens at a high
temperature, in which nothing comes again. Engines take turns, a step each, and time is of this
process's own computing, so that others at work on the machine are not measured.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from dataclasses import dataclass
from statistics import median

from unisono.core import EngineConfig, Request, SamplingParams
from unisono.engine import Engine, build_engine
from unisono.hub.resolving import resolve_model
from unisono.text import Tokenizer

RECORDS = json.dumps(
    [
        {"id": i, "name": f"sensor {i}", "unit": "celsius", "status": "active", "value": 20 + i}
        for i in range(8)
    ],
    indent=1,
)
PROSE = "Once upon a time there was a lighthouse keeper who"
FACTS = "Explain in your own words why the sky is blue and the sunset is red."


@dataclass(frozen=True)
class Work:
    name: str
    prompt: tuple[int, ...]
    params: SamplingParams


def works(tokenizer: Tokenizer, num_tokens: int) -> list[Work]:
    greedy = SamplingParams(temperature=0.0, max_tokens=num_tokens, ignore_eos=True)
    sampled = SamplingParams(temperature=1.0, max_tokens=num_tokens, ignore_eos=True)
    wild = SamplingParams(temperature=2.0, max_tokens=num_tokens, ignore_eos=True)
    numbers = random.Random(0)
    words = tuple(numbers.randrange(100, tokenizer.vocab_size) for _ in range(300))
    return [
        Work("JSON, greedy", tuple(tokenizer.encode(RECORDS[:-60])), greedy),
        Work("JSON, sampled", tuple(tokenizer.encode(RECORDS[:-60])), sampled),
        Work("prose, greedy", tuple(tokenizer.encode(PROSE)), greedy),
        Work("prose, sampled", tuple(tokenizer.encode(FACTS)), sampled),
        Work("random tokens", words, wild),
    ]


class Run:
    """The answers of one engine, and the seconds of computing behind its first step."""

    def __init__(self, engine: Engine, work: Work, batch: int) -> None:
        self.engine = engine
        self.answers: list[list[int]] = [[] for _ in range(batch)]
        self.seconds = 0.0
        for i in range(batch):
            engine.add(Request(id=str(i), prompt_token_ids=work.prompt, params=work.params, seed=i))
        self._step()
        self.seconds = 0.0

    def step(self) -> bool:
        """False where there is nothing to do any more."""
        if self.engine.has_work:
            self._step()
        return self.engine.has_work

    def _step(self) -> None:
        began = time.process_time()
        outputs = self.engine.step()
        self.seconds += time.process_time() - began
        for output in outputs:
            self.answers[int(output.request_id)] += output.token_ids


def compare(plain: Engine, drafting: Engine, work: Work, batch: int, rounds: int) -> None:
    ratios, speeds, before = [], [], drafting.stats()
    for index in range(rounds + 1):
        runs = [Run(engine, work, batch) for engine in (plain, drafting)]
        while sum(run.step() for run in runs):
            pass
        assert runs[0].answers == runs[1].answers, f"{work.name}: other answers"
        if index:
            ratios.append(runs[0].seconds / runs[1].seconds)
            speeds.append(sum(map(len, runs[0].answers)) / runs[0].seconds)
    after = drafting.stats()
    accepted = after.accepted_tokens - before.accepted_tokens
    rejected = after.rejected_tokens - before.rejected_tokens
    steps = after.steps - before.steps
    print(
        f"{work.name:16} batch {batch}: {median(speeds):7.1f} tokens/s, with drafts "
        f"x{median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}); of {accepted + rejected} "
        f"drafts {accepted} accepted, {steps} steps",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("model", nargs="?")
    parser.add_argument("--speculate", default="ngram")
    parser.add_argument("--speculate-tokens", type=int, default=8)
    parser.add_argument("--weights", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", default="1,4")
    options = parser.parse_args()
    folder = resolve_model(options.model)
    config = EngineConfig(
        device="cpu", weights=options.weights, dtype=options.dtype, threads=1, prefix_cache=False
    )
    plain = build_engine(folder, config)
    drafting = build_engine(
        folder,
        config.but(speculate=options.speculate, speculate_tokens=options.speculate_tokens),
    )
    for batch in map(int, options.batch.split(",")):
        for work in works(Tokenizer.load(folder), options.tokens):
            compare(plain, drafting, work, batch, options.rounds)


if __name__ == "__main__":
    main()
