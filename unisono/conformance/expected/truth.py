"""The expected answer to a request: the oracle's own choice of tokens, as far as it is sure.

Where two tokens are so near to each other that rounding may decide, the answer is not sure, and
what follows is not compared.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unisono.conformance.expected.oracle import Oracle
from unisono.core.random import uniform


@dataclass(frozen=True, slots=True)
class Answer:
    """Tokens of an answer; the first ``sure`` of them are beyond doubt."""

    token_ids: list[int]
    sure: int

    def differs(self, given: list[int]) -> str:
        """Describes what is wrong with a given answer; empty where nothing is."""
        if len(given) != len(self.token_ids):
            return f"{len(given)} tokens instead of {len(self.token_ids)}"
        for i, (mine, theirs) in enumerate(zip(given, self.token_ids, strict=True)):
            if i >= self.sure:
                return ""
            if mine != theirs:
                return f"token {i} is {mine} instead of {theirs}"
        return ""


def answer(oracle: Oracle, prompt: list[int], count: int, *, seed: int | None = None) -> Answer:
    """``count`` tokens behind the prompt: the likeliest, or with a seed those that it draws."""
    token_ids = list(prompt)
    for position in range(count):
        token_ids.append(_choose(oracle.logits(token_ids)[-1], seed, position))
    generated = token_ids[len(prompt) :]
    values, bound = oracle.expected(token_ids[:-1])
    sure = 0
    for position in range(count):
        row = values[len(prompt) - 1 + position]
        slack = float(bound[len(prompt) - 1 + position, 0])
        if not _is_sure(row, slack, seed, position):
            break
        sure += 1
    return Answer(generated, sure)


def _choose(logits: Tensor, seed: int | None, position: int) -> int:
    if seed is None:
        return int(logits.argmax())
    cumulative = logits.softmax(-1).cumsum(-1)
    return int((cumulative <= uniform(seed, position)).sum())


def _is_sure(logits: Tensor, slack: float, seed: int | None, position: int) -> bool:
    """``slack`` is how far a logit may be off."""
    if seed is None:
        best, second = logits.topk(2).values
        return float(best - second) > 2 * slack
    cumulative = logits.softmax(-1).cumsum(-1)
    distance = (cumulative - uniform(seed, position)).abs().amin()
    # A probability of p moves by at most 2 p (1 - p) slack <= slack / 2.
    return float(distance) > slack / 2 + 1e-6
