"""The protocol of compare_cpu.py's workers: a JSON object a line in, one a line out.

    {"do": "fill", "batch": 8, "tokens": 512, "seed": 3, "aim": "decode"}
        forget everything, take in fresh prompts and choose a first token for each; "aim" is what
        is measured, "prefill" or "decode", because one peer is set up differently for the two
    {"do": "step", "tokens": 16}    choose so many more for each of them
    {"do": "roofs"}                 what the machine gives at this moment
    {"do": "describe"}              what the engine says of itself

``fill`` and ``step`` answer seconds, and fail where the engine did not take in or give out as many
tokens as it was told. Imports nothing but the standard library: every engine has its own Python.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol


class Session(Protocol):
    """One loaded model, and the sequences it is working on."""

    vocab_size: int

    def describe(self) -> dict[str, Any]:
        """``step_bytes``: weights that a decode step reads; ``model_bytes``: all weights, where the
        engine knows no more. The rest is shown as it is."""

    def clear(self, batch: int, tokens: int, aim: str) -> None:
        """Forget all sequences, and have room for so many new ones of so many tokens."""

    def fill(self, prompts: list[list[int]]) -> None:
        """Take in prompts, and choose a first token for each."""

    def step(self, count: int) -> None:
        """Choose so many further tokens for each sequence."""

    def lengths(self) -> list[int]:
        """Tokens of each sequence whose keys and values the engine holds now."""


class TimedSession:
    """Carries out commands, and checks that the work was really done."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def describe(self) -> dict[str, Any]:
        return self.session.describe()

    def fill(self, batch: int, tokens: int, seed: int, aim: str) -> dict[str, float]:
        numbers = random.Random(seed)
        vocabulary = range(self.session.vocab_size)
        prompts = [numbers.choices(vocabulary, k=tokens) for _ in range(batch)]
        self.session.clear(batch, tokens, aim)
        seconds = timed(lambda: self.session.fill(prompts))
        lengths = self.session.lengths()
        if len(lengths) != batch or min(lengths) < tokens:
            raise RuntimeError(f"{batch} prompts of {tokens} tokens, but held are {lengths}.")
        return {"seconds": seconds}

    def step(self, tokens: int) -> dict[str, float]:
        before = self.session.lengths()
        seconds = timed(lambda: self.session.step(tokens))
        after = self.session.lengths()
        if after != [length + tokens for length in before]:
            raise RuntimeError(f"{tokens} tokens were due, but {before} became {after}.")
        return {"seconds": seconds}


def timed(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def serve(worker: Any) -> None:
    """Obey the lines of standard input until it ends; the methods of ``worker`` are the commands.

    Whatever an engine prints goes to standard error.
    """
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    for line in sys.stdin:
        command = json.loads(line)
        answer = getattr(worker, command.pop("do"))(**command)
        answers.write(json.dumps(answer) + "\n")
