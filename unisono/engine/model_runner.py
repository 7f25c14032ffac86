"""Carries out a batch: tensors for the step, the forward pass, the sampler.

Knows nothing of queues or requests beyond the rows it is given.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unisono.core.batch import Batch, BatchRow, RowResult
from unisono.core.request import TokenLogprob
from unisono.engine.cache_memory import allocate
from unisono.engine.pages import PageLayout
from unisono.engine.pooling import pool
from unisono.engine.sampling.constraints import Constraints
from unisono.engine.sampling.logprobs import logprob_lines, read_logprobs
from unisono.engine.sampling.positions import accept, positions
from unisono.engine.sampling.sampler import NOT_FINITE, Sampler
from unisono.engine.stats import Timings
from unisono.engine.step_inputs import StepInputs, StepTensors
from unisono.hardware.base import Hardware
from unisono.hardware.ops.attention import AttentionStep
from unisono.models.loading import LoadedModel
from unisono.models.step import StepContext

SCORED_ROWS = 64
"""Prompt positions whose logits are held at once."""


@dataclass(frozen=True, slots=True)
class Forwarded:
    """Logits of a step, before tokens are chosen."""

    sampled: list[int]
    """Indices of the rows that get a token."""
    logits: Tensor | None
    """Float32 [N, V], as many of each of those rows as it has ``num_logits``."""
    scored: dict[int, list[TokenLogprob]]
    """Log-probabilities of prompt tokens, by index of the row."""
    pooled: dict[int, RowResult]
    """Results of the rows that pool, by index."""


class ModelRunner:
    """A model and its KV memory on one device.

    Args:
        pages: how the cache is laid out.
        num_blocks: of each buffer.
        max_adapter_rank: of adapters that may be loaded.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        hardware: Hardware,
        *,
        pages: PageLayout,
        num_blocks: int,
        max_adapter_rank: int = 64,
    ) -> None:
        self.model = loaded.model
        self.adapters = loaded.adapters
        self.max_adapter_rank = max_adapter_rank
        self.hardware = hardware
        self.pages = pages
        self.groups = pages.groups
        self.block_size = pages.block_size
        self.inputs = StepInputs(len(pages.groups), pages.block_size, hardware.device)
        self._plans: list[Any] = [None] * len(pages.groups)
        self.sampler = Sampler(hardware.ops, loaded.eos_token_ids)
        self.constraints: Constraints | None = None
        """State of the constraints in flight; None: the engine takes none."""
        self.timings = Timings()
        self.kv = allocate(pages, num_blocks, hardware.device)
        self._group_of = {
            layer: g for g, group in enumerate(pages.groups) for layer in group.layers
        }

    @torch.inference_mode()
    def run(self, batch: Batch) -> list[RowResult]:
        """One result a row, in order."""
        with self.hardware.activate():
            wanted = positions([row for row in batch.rows if row.pooling is None])
            masking = None if self.constraints is None else self.constraints.begin(wanted)
            forwarded = self._forward(batch)
            masks = None if masking is None else masking.result()
            began = time.perf_counter()
            results = [RowResult() for _ in batch.rows]
            if forwarded.logits is not None:
                chosen = self.sampler(forwarded.logits, wanted, masks)
                for i, error in ({} if masks is None else masks.errors).items():
                    chosen[i] = RowResult(error=error)
                rows = [batch.rows[i] for i in forwarded.sampled]
                for i, result in zip(forwarded.sampled, accept(rows, chosen), strict=True):
                    results[i] = result
            for i, pooled in forwarded.pooled.items():
                results[i] = pooled
            for i, scored in forwarded.scored.items():
                results[i].prompt_logprobs = scored
                if not all(math.isfinite(entry.logprob) for entry in scored):
                    results[i].error = NOT_FINITE
        self.timings.sample_s += time.perf_counter() - began
        return results

    def check(self) -> None:
        """Raises:
        EngineDeadError: a part of it has failed.
        """

    def close(self) -> None:
        """Nothing is to be run any more."""

    def _forward(self, batch: Batch) -> Forwarded:
        """All of a step that the model computes."""
        started = time.perf_counter()
        hidden, prepared = self._hidden(batch)
        ends = list(accumulate(len(row.token_ids) for row in batch.rows))
        sampled = [i for i, row in enumerate(batch.rows) if row.num_logits]
        counts = [row.num_logits for row in batch.rows]
        at = [i for end, n in zip(ends, counts, strict=True) for i in range(end - n, end)]
        logits = self._logits(hidden, at)
        sampled, logits, pooled = self._pool(batch.rows, hidden, ends, sampled, logits)
        scored = {
            i: self._score(hidden[end - len(row.token_ids) : end], row)
            for i, (row, end) in enumerate(zip(batch.rows, ends, strict=True))
            if row.prompt_targets
        }
        self.hardware.end_step()
        self.hardware.synchronize()
        self.timings.prepare_s += prepared - started
        self.timings.forward_s += time.perf_counter() - prepared
        return Forwarded(sampled, logits, scored, pooled)

    def _pool(
        self,
        rows: list[BatchRow],
        hidden: Tensor,
        ends: list[int],
        sampled: list[int],
        logits: Tensor | None,
    ) -> tuple[list[int], Tensor | None, dict[int, RowResult]]:
        """The rows that sample and their logits, without those that pool, whose results follow."""
        if all(row.pooling is None for row in rows):
            return sampled, logits, {}
        parts: dict[int, Tensor] = {}
        if logits is not None:
            counts = [rows[i].num_logits for i in sampled]
            parts = dict(zip(sampled, torch.split(logits, counts), strict=True))
        pooled = pool(self.model, rows, hidden, ends, {i: part[-1] for i, part in parts.items()})
        sampled = [i for i in sampled if rows[i].pooling is None]
        return sampled, torch.cat([parts[i] for i in sampled]) if sampled else None, pooled

    def _hidden(self, batch: Batch) -> tuple[Tensor, float]:
        """Hidden states [T, H] of all tokens, and the time when the inputs were there.

        Modules that run as one op without adapters may round otherwise than their parts do: rows
        without one are then computed by themselves, so that they are as in any step.
        """
        halves = self.adapters.apart(batch.rows)
        if len(halves) == 1:
            token_ids, step = self.prepare(batch)
            prepared = time.perf_counter()
            return self.model(token_ids, step), prepared
        parts: dict[int, Tensor] = {}
        prepared = 0.0
        for half in halves:
            hidden, prepared = self._hidden(Batch([batch.rows[i] for i in half]))
            lengths = [len(batch.rows[i].token_ids) for i in half]
            parts.update(zip(half, torch.split(hidden, lengths), strict=True))
        return torch.cat([parts[i] for i in range(len(batch.rows))]), prepared

    def load_adapter(self, key: str, folder: Path) -> int:
        """Hold the adapter in a folder for rows of that key; gives its bytes.

        Raises:
            AdapterError: it is not understood, or does not fit the model.
            InsufficientMemoryError: the device has no room for it.
        """
        return self.adapters.load(key, folder, max_rank=self.max_adapter_rank)

    def drop_adapter(self, key: str) -> None:
        """Forget an adapter that no row has any more."""
        self.adapters.drop(key)

    def prepare(self, batch: Batch) -> tuple[Tensor, StepContext]:
        """Token ids int64 [T], and what else a forward pass needs."""
        numbers = self.adapters.numbers([row.adapter for row in batch.rows])
        loaded = self.inputs.load(batch.rows, numbers)
        self.adapters.rows.refill(loaded.adapters)
        attention = [self._attention_step(batch.rows, loaded, g) for g in range(len(self.groups))]
        for g, attention_step in enumerate(attention):
            self._plans[g] = attention_step.plan = self._plan(attention_step, g)
        step = StepContext(
            positions=loaded.positions,
            kv=self.kv,
            attention=[attention[self._group_of[layer]] for layer in range(len(self.kv))],
            rope_lengths=loaded.rope_lengths,
            adapters=self.adapters.rows.of_step(),
        )
        return loaded.token_ids, step

    def _plan(self, step: AttentionStep, index: int) -> Any:
        """The step data that layers of a group share, made by the op that reads their cache."""
        ops, group = self.hardware.ops, self.groups[index]
        cache = self.kv[group.layers[0]]
        if group.kind in ("full", "window"):
            return ops.plan_attention(step, cache, into=self._plans[index])
        first = cache[0] if isinstance(cache, tuple) else cache
        if group.kind == "latent":
            return ops.plan_latent_attention(step, first)
        return ops.plan_states(step, first)

    def _attention_step(
        self, rows: list[BatchRow], loaded: StepTensors, group: int
    ) -> AttentionStep:
        return AttentionStep(
            query_lens=[len(row.token_ids) for row in rows],
            context_lens=[row.end for row in rows],
            block_tables=[list(row.block_tables[group]) for row in rows],
            slots=loaded.slots[group],
            block_size=self.block_size,
            window=self.groups[group].window,
            spare_blocks=_spares(rows, group) if self.groups[group].kind == "state" else [],
            contexts=None if loaded.held is None else loaded.held.contexts,
            tables=None if loaded.held is None else loaded.held.tables[:, group],
        )

    def _logits(self, hidden: Tensor, indices: list[int]) -> Tensor | None:
        if not indices:
            return None
        if len(indices) == hidden.shape[0]:
            return self.model.logits(hidden)
        return self.model.logits(hidden[indices])

    def _score(self, hidden: Tensor, row: BatchRow) -> list[TokenLogprob]:
        """Log-probabilities of the prompt tokens that follow this row's positions."""
        scored: list[TokenLogprob] = []
        for targets, logits in self._scored_logits(hidden, row):
            logprobs = torch.log_softmax(logits, dim=-1)
            lines = logprob_lines(logprobs, targets, row.params.prompt_logprobs or 0)
            scored += read_logprobs(lines.cpu())
        return scored

    def _scored_logits(self, hidden: Tensor, row: BatchRow) -> Iterator[tuple[Tensor, Tensor]]:
        """Some targets [N] at a time, and the logits [N, V] before them."""
        for at in range(0, len(row.prompt_targets), SCORED_ROWS):
            targets = torch.tensor(row.prompt_targets[at : at + SCORED_ROWS], device=hidden.device)
            yield targets, self.model.logits(hidden[at : at + len(targets)])


def _spares(rows: list[BatchRow], group: int) -> list[list[int]]:
    if not any(row.num_drafted for row in rows):
        return []
    return [list(row.spare_blocks[group]) if row.num_drafted else [] for row in rows]
