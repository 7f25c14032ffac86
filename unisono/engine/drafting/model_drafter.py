"""Drafts by a smaller model: it goes along with each answer in a KV cache of its own.

Its cache has the blocks of the large model, by the same numbers, so it has no tables to keep. What
it says is drawn with the random numbers of the positions it drafts for, as the answer itself is:
the more alike the two models are, the more often they draw the same. It reads no constraint.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from unisono.core.batch import Batch, BatchRow
from unisono.core.sampling import SamplingParams
from unisono.engine.model_runner import ModelRunner

_log = logging.getLogger(__name__)
_FEW = 16
"""Tokens of a row that are read together with those of others."""


@dataclass(slots=True)
class _Reader:
    """One answer, as far as the draft model has read it."""

    params: SamplingParams
    num_read: int = 0
    num_known: int = 0
    guessed: list[int] = field(default_factory=list)
    blocks: list[int] = field(default_factory=list)


class ModelDrafter:
    """Args:
    runner: of the draft model; its only cache group has the blocks of ``group`` of the large one.
    chunk: most tokens of a step.
    vocab_size: of the large model.
    """

    is_free = False

    def __init__(self, runner: ModelRunner, *, group: int, chunk: int, vocab_size: int) -> None:
        self._runner = runner
        self._group = group
        self._chunk = chunk
        self._vocab_size = vocab_size
        self._readers: dict[str, _Reader] = {}
        self._has_failed = False

    def draft(self, rows: Sequence[BatchRow], counts: Sequence[int]) -> list[list[int]]:
        drafts: list[list[int]] = [[] for _ in rows]
        if self._has_failed:
            return drafts
        try:
            self._draft(
                rows, [self._room(*each) for each in zip(rows, counts, strict=True)], drafts
            )
        except Exception:
            _log.exception("The draft model failed; nothing is drafted any more.")
            self._has_failed = True
        return drafts

    def _room(self, row: BatchRow, count: int) -> int:
        """Drafts for which there are positions and blocks; the last one is read by nobody here."""
        known = len(row.all_token_ids)
        places = len(row.block_tables[self._group]) * self._runner.block_size
        return min(count, min(places, self._runner.model.config.max_position) - known + 1)

    def _draft(
        self, rows: Sequence[BatchRow], counts: Sequence[int], drafts: list[list[int]]
    ) -> None:
        asked = [i for i, count in enumerate(counts) if count > 0]
        for i in asked:
            self._catch_up(rows[i])
        while asked:
            steps = [self._row(rows[i], drafts[i]) for i in asked]
            for i, result in zip(asked, self._runner.run(Batch(steps)), strict=True):
                reader = self._readers[rows[i].request_id]
                reader.num_read = len(rows[i].all_token_ids) + len(drafts[i])
                fits = [t for t in result.token_ids if t < self._vocab_size]
                drafts[i] += fits or [-1]
            asked = [i for i in asked if drafts[i][-1] >= 0 and len(drafts[i]) < counts[i]]
        for i, row in enumerate(rows):
            if drafts[i] and drafts[i][-1] < 0:
                drafts[i].pop()
            if counts[i] > 0:
                self._readers[row.request_id].guessed = drafts[i]

    def _catch_up(self, row: BatchRow) -> None:
        """Read what the answer has become, but for the last few tokens."""
        reader = self._readers.get(row.request_id)
        if reader is None:
            params = replace(row.params, constraint=None, logprobs=None, prompt_logprobs=None)
            reader = self._readers[row.request_id] = _Reader(params)
        token_ids, table = row.all_token_ids, list(row.block_tables[self._group])
        came = token_ids[reader.num_known :]
        pairs = enumerate(zip(reader.guessed, came, strict=False))
        true = next((i for i, (guess, token) in pairs if guess != token), len(came))
        same = next(
            (
                i
                for i, pair in enumerate(zip(reader.blocks, table, strict=False))
                if len({*pair}) > 1
            ),
            min(len(reader.blocks), len(table)),
        )
        held = (reader.num_known + true, len(token_ids) - 1, same * self._runner.block_size)
        reader.num_read = min(reader.num_read, *held)
        reader.num_known, reader.guessed, reader.blocks = len(token_ids), [], table
        while len(token_ids) - reader.num_read > _FEW:
            end = min(reader.num_read + self._chunk, len(token_ids) - 1)
            self._runner.run(Batch([self._row(row, [], end)]))
            reader.num_read = end

    def _row(self, row: BatchRow, drafted: list[int], end: int | None = None) -> BatchRow:
        """Its tokens that are not read yet, up to ``end``; behind the last one a token is drawn."""
        reader, known = self._readers[row.request_id], len(row.all_token_ids)
        token_ids = [
            *row.all_token_ids[reader.num_read :],
            *drafted[max(0, reader.num_read - known) :],
        ]
        if end is not None:
            token_ids = token_ids[: end - reader.num_read]
        is_read = reader.params.has_penalties
        return BatchRow(
            request_id=row.request_id,
            token_ids=token_ids,
            start=reader.num_read,
            block_tables=[row.block_tables[self._group]],
            num_logits=int(end is None),
            params=reader.params,
            seed=row.seed,
            num_prompt_tokens=row.num_prompt_tokens,
            all_token_ids=[*row.all_token_ids, *drafted] if is_read else row.all_token_ids,
            allow_stop=row.allow_stop,
            rope_length=self._runner.model.rope_length(row.num_prompt_tokens, known),
        )

    def forget(self, request_id: str) -> None:
        self._readers.pop(request_id, None)
