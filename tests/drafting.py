"""A drafter that knows the answers, and errs at random: every number of drafts is accepted."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence

from unisono.core import Batch, BatchRow
from unisono.engine import Engine
from unisono.engine.drafting.ngram import NgramDrafter
from unisono.engine.drafting.speculation import Speculation

MOST = 5


class Oracle(Speculation):
    """Args:
    answers: token ids by request id.
    """

    def __init__(
        self, answers: Mapping[str, Sequence[int]], vocab_size: int, seed: int = 0
    ) -> None:
        self.most = MOST
        self.drafter = NgramDrafter()
        self.answers = answers
        self.vocab_size = vocab_size
        self.random = random.Random(seed)

    def draft(self, rows: Sequence[BatchRow], room: Sequence[int], total: int) -> list[list[int]]:
        drafts = []
        for row, most in zip(rows, room, strict=True):
            drafts.append(self._draft(row, self.random.randint(0, max(0, min(most, total)))))
            total -= len(drafts[-1])
        return drafts

    def _draft(self, row: BatchRow, count: int) -> list[int]:
        at = len(row.all_token_ids) - row.num_prompt_tokens
        coming = list(self.answers[row.request_id][at : at + count])
        coming += [self.random.randrange(self.vocab_size) for _ in range(count - len(coming))]
        if count and self.random.random() < 0.6:
            wrong = self.random.randrange(count)
            coming[wrong] = (coming[wrong] + 1) % self.vocab_size
        return coming

    def measure(self, batch: Batch, seconds: float) -> None: ...

    def forget(self, request_id: str) -> None: ...


def with_oracle(engine: Engine, answers: Mapping[str, Sequence[int]], seed: int = 0) -> Engine:
    engine.scheduler.speculation = Oracle(answers, engine.info.vocab_size, seed)
    return engine


def seen(engine: Engine) -> Counter[tuple[int, int]]:
    """Filled by later steps: the number of rows with so many drafts, of which so many accepted."""
    found: Counter[tuple[int, int]] = Counter()
    run = engine.runner.run

    def counted(batch: Batch) -> list:
        results = run(batch)
        for row, result in zip(batch.rows, results, strict=True):
            if row.num_drafted:
                found[row.num_drafted, max(0, len(result.token_ids) - 1)] += 1
        return results

    engine.runner.run = counted  # type: ignore[method-assign]
    return found
