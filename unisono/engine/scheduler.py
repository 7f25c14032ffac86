"""Chooses the tokens of the sequences that the next step computes.

Pure: no torch, and time comes from the clock it is given. One token budget a step is shared by
decodes, which go first, and by chunks of prompts. ``fairness`` says whose turn it is and
``preemption`` who gives its blocks back when they run out, to be computed again later: the oldest
can take from all others, and each request fits alone, so every request ends.

Where a whole step fails, its rows run again one at a time, each until it is past the point where
it failed: the request at fault is then alone, and fails alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter

from unisono.core.batch import Batch, BatchRow, RowResult
from unisono.core.cache import CacheGroup
from unisono.core.clock import Clock
from unisono.core.errors import InvalidRequestError, QueueFullError
from unisono.core.request import Request, RequestOutput
from unisono.engine.drafting.speculation import Speculation
from unisono.engine.fairness import READ_COST, WRITE_COST, FairQueue
from unisono.engine.intake import check_allowed, max_tokens_of
from unisono.engine.kv_cache import KVCache, peak_blocks
from unisono.engine.preemption import Seating
from unisono.engine.sequence import Sequence


@dataclass(frozen=True, kw_only=True, slots=True)
class SchedulerConfig:
    groups: tuple[CacheGroup, ...]
    num_blocks: int
    block_size: int
    max_model_len: int
    max_num_seqs: int
    max_num_batched_tokens: int
    max_queue: int
    eos_token_ids: frozenset[int]
    prefix_cache: bool = True
    rope_length: Callable[[int, int], int] = lambda num_prompt, num_tokens: 0
    """Number of prompt tokens and of all -> the length that positions are rotated for."""


@dataclass(slots=True)
class SchedulerCounters:
    """Totals since the start."""

    preemptions: int = 0
    prompt_tokens: int = 0
    generated_tokens: int = 0
    accepted_tokens: int = 0
    rejected_tokens: int = 0


class Scheduler:
    """``add``, then ``schedule`` and ``complete`` in turn while ``has_work``.

    Args:
        speculation: drafts tokens that rows compute beside those they have to.

    Raises:
        ValueError: the pool cannot hold one request of ``max_model_len`` tokens.
    """

    def __init__(
        self, config: SchedulerConfig, clock: Clock, speculation: Speculation | None = None
    ) -> None:
        self.config = config
        self.speculation = speculation
        self.kv = KVCache(
            config.groups,
            num_blocks=config.num_blocks,
            block_size=config.block_size,
            prefix_cache=config.prefix_cache,
        )
        needed = peak_blocks(
            config.groups, config.block_size, config.max_model_len, config.max_num_batched_tokens
        )
        if needed >= config.num_blocks:
            raise ValueError(f"{needed} blocks hold one request; {config.num_blocks - 1} are there")
        self.counters = SchedulerCounters()
        self._clock = clock
        self._sequences: dict[str, Sequence] = {}
        self._queue = FairQueue()
        self._tenants: Counter[str] = Counter()
        self._running: dict[str, Sequence] = {}
        self._suspects: dict[str, int] = {}
        self._num_arrivals = 0

    @property
    def has_work(self) -> bool:
        return bool(self._sequences)

    @property
    def num_running(self) -> int:
        return len(self._running)

    @property
    def num_waiting(self) -> int:
        return len(self._sequences) - len(self._running)

    def oldest_wait_s(self) -> float:
        """Seconds since the arrival of the oldest request that waits; 0 where none does."""
        waiting = [s.arrival_s for s in self._sequences.values() if s.id not in self._running]
        return self._clock.now() - min(waiting) if waiting else 0.0

    def adapters_in_use(self) -> set[str]:
        """Keys of the adapters that requests have."""
        return {sequence.request.adapter for sequence in self._sequences.values()}

    # -- requests come and go ---------------------------------------------------------------

    def add(self, request: Request) -> None:
        """Take a request into the queue.

        Raises:
            InvalidRequestError: an empty prompt, an id that is in flight already, or no token
                that may come.
            ContextLengthError: it can never fit the context.
            QueueFullError: too many wait.
        """
        sequence = Sequence(
            request=request,
            arrival=self._num_arrivals,
            arrival_s=self._clock.now(),
            max_tokens=self.check(request),
        )
        self._num_arrivals += 1
        sequence.rotate_for(self._rope_length(sequence))
        self._sequences[request.id] = sequence
        self._tenants[request.tenant] += 1
        self._queue.push(sequence)

    def check(self, request: Request, *, num_more: int = 0) -> int:
        """Most tokens of its answer, if it may be added behind ``num_more`` others that will be.

        Raises:
            RequestError: those of ``add``.
        """
        if request.id in self._sequences:
            raise InvalidRequestError(f"Request {request.id!r} is in flight already.")
        check_allowed(request.params, self.config.eos_token_ids)
        self._check_queue(request.tenant, num_more)
        return max_tokens_of(request, self.config.max_model_len)

    def _check_queue(self, tenant: str, num_more: int) -> None:
        """A tenant has an equal share of the queue beside others that wait, and all of it alone."""
        num_waiting = self._queue.num_waiting(tenant) + num_more
        if num_waiting >= -(-self.config.max_queue // self._queue.num_tenants(besides=tenant)):
            raise QueueFullError(
                f"{num_waiting} requests wait already.",
                retry_after_s=1,
                hint="Try again later, or serve with a larger --max-queue.",
            )

    def _rope_length(self, sequence: Sequence) -> int:
        return self.config.rope_length(sequence.num_prompt, len(sequence.token_ids))

    def abort(self, request_id: str) -> None:
        """Forget a request, wherever it is, between two steps; unknown ids are ignored."""
        sequence = self._sequences.get(request_id)
        if sequence is not None:
            self._remove(sequence)

    def _remove(self, sequence: Sequence) -> None:
        del self._sequences[sequence.id]
        self._suspects.pop(sequence.id, None)
        if self.speculation is not None:
            self.speculation.forget(sequence.id)
        self._tenants[sequence.tenant] -= 1
        if not self._tenants[sequence.tenant]:
            del self._tenants[sequence.tenant]
        if self._running.pop(sequence.id, None) is not None:
            self.kv.close(sequence)
        else:
            self._queue.remove(sequence)

    # -- one step ---------------------------------------------------------------------------

    def schedule(self) -> Batch:
        """The next step's rows; empty where there is nothing to do."""
        self._restart_outgrown()
        step = _Step(self.config.max_num_batched_tokens)
        if self._suspects:
            self._isolate(step)
        else:
            self._fill(step)
            self._draft(step)
        for request_id, row in step.rows.items():
            self.kv.publish(self._running[request_id], row.num_known)
        return Batch(list(step.rows.values()))

    def _restart_outgrown(self) -> None:
        """Sequences that have grown into another rotation are computed anew."""
        for sequence in list(self._running.values()):
            if sequence.rotate_for(self._rope_length(sequence)):
                self._preempt(sequence)

    def _fill(self, step: _Step) -> None:
        """Decodes first; then prompts, under way or waiting, in the order of ``fairness``."""
        in_order = sorted(self._running.values(), key=self._queue.order)
        prompts = [sequence for sequence in in_order if sequence.num_pending > 1]
        for sequence in in_order:
            if sequence.num_pending == 1:
                self._continue(sequence, step)
        for sequence in prompts:
            self._admit_waiting(step, before=sequence)
            if self._continue(sequence, step):
                self._share(sequence, step)
        self._admit_waiting(step)

    def _draft(self, step: _Step) -> None:
        """Drafts have what budget and blocks nothing else needs."""
        if self.speculation is None:
            return
        most = min(step.budget, self.config.max_num_seqs + self.speculation.most - len(step.rows))
        decoded = {
            request_id: self._most_drafts(self._running[request_id])
            for request_id, row in step.rows.items()
            if row.num_logits and len(row.token_ids) == 1
        }
        rows = [step.rows[request_id] for request_id in decoded]
        costs = not self.speculation.drafter.is_free
        if costs:  # it writes behind what is known, where there is room
            for request_id, count in decoded.items():
                sequence = self._running[request_id]
                self.kv.reserve(sequence, len(sequence.token_ids) + max(0, count))
        drafts = self.speculation.draft(rows, list(decoded.values()), most)
        for row, drafted in zip(rows, drafts, strict=True):
            sequence = self._running[row.request_id]
            if drafted:
                count, spare_blocks = self.kv.lend(sequence, len(drafted))
                if count:
                    step.rows[row.request_id] = row.drafted(drafted[:count], spare_blocks)
            if costs or drafted:
                self.kv.trim(sequence, step.rows[row.request_id].end)

    def _most_drafts(self, sequence: Sequence) -> int:
        """Drafts behind which the answer has room for a token, and positions do not turn
        differently."""
        rope_length, known = self.config.rope_length, len(sequence.token_ids)
        most = sequence.max_tokens - sequence.num_answer - 1
        if self.speculation is not None:
            most = min(most, self.speculation.most)
        while most > 0 and (
            rope_length(sequence.num_prompt, known + most) != sequence.variant.rope_length
        ):
            most -= 1
        return most

    def _share(self, sequence: Sequence, step: _Step) -> None:
        """Others may share its blocks within this step, so its row stays."""
        self.kv.publish(sequence, step.rows[sequence.id].end)
        step.fixed.add(sequence.id)

    def _continue(self, sequence: Sequence, step: _Step) -> bool:
        """Give a running sequence its row; false where it is no longer running or has to wait."""
        count = min(sequence.num_pending, step.budget)
        if not count or sequence.id not in self._running:
            return False
        if not self._make_room(sequence, sequence.num_computed + count, step):
            return False
        self._give_row(sequence, count, step)
        return True

    def _make_room(self, sequence: Sequence, end: int, step: _Step) -> bool:
        """Preempt until the blocks suffice; it may be the sequence itself."""
        while not self.kv.reserve(sequence, end):
            victim = self._seating(step).to_grow(sequence)
            if victim is None:
                return False
            step.drop(victim.id)
            self._preempt(victim)
            if victim is sequence:
                return False
        return True

    def _seating(self, step: _Step) -> Seating:
        return Seating(
            self.kv,
            self._running,
            step.fixed,
            num_tenants=len(self._tenants),
            max_num_seqs=self.config.max_num_seqs,
        )

    def _preempt(self, sequence: Sequence) -> None:
        del self._running[sequence.id]
        self.kv.close(sequence)
        sequence.restart()
        self._queue.push(sequence)
        self.counters.preemptions += 1

    def _admit_waiting(self, step: _Step, *, before: Sequence | None = None) -> None:
        """In order, without overtaking: small requests do not pass by a large one."""
        while step.admits and (request_id := self._queue.first()) is not None:
            sequence = self._sequences[request_id]
            if before and self._queue.order(sequence) > self._queue.order(before):
                return
            step.admits = self._make_way(sequence, step)
            if step.admits:
                self._admit(sequence, step)

    def _make_way(self, sequence: Sequence, step: _Step) -> bool:
        """Open a waiting sequence, if need be in place of running ones."""
        chunk = self.config.max_num_batched_tokens
        while True:
            has_seat = len(self._running) < self.config.max_num_seqs
            if has_seat and not step.budget:
                return False
            if has_seat and self._open(sequence):
                return True
            victim = self._seating(step).to_admit(
                sequence,
                needs_seat=not has_seat,
                num_blocks=self.kv.num_needed(sequence, chunk),
            )
            if victim is None:
                return False
            step.drop(victim.id)
            self._preempt(victim)

    def _open(self, sequence: Sequence) -> bool:
        """Take over what the prefix cache has; undone where the rest would not fit.

        Tried again only when more blocks are free: to look up a long prefix takes milliseconds.
        """
        if self.kv.pool.num_free <= sequence.refused_at:
            return False
        sequence.num_computed = self.kv.open(sequence)
        if self.kv.fits(sequence, self.config.max_num_batched_tokens):
            sequence.refused_at = -1
            return True
        self.kv.close(sequence)
        sequence.refused_at = self.kv.pool.num_free
        return False

    def _admit(self, sequence: Sequence, step: _Step) -> None:
        self._queue.remove(sequence)
        self._running[sequence.id] = sequence
        num_hit = sequence.num_taken = sequence.num_computed
        self.kv.count_hit(len(sequence.token_ids), num_hit)
        if sequence.num_answer == len(sequence.request.resumed_token_ids):
            sequence.num_cached = min(num_hit, sequence.num_prompt)
        count = min(sequence.num_pending, step.budget)
        reserved = self.kv.reserve(sequence, num_hit + count)
        assert reserved, "admission promised these blocks"
        self._give_row(sequence, count, step)
        self._share(sequence, step)

    def _isolate(self, step: _Step) -> None:
        """After a failed step: one suspect alone, until the one at fault is found."""
        suspects = [self._sequences[request_id] for request_id in self._suspects]
        sequence = min(suspects, key=attrgetter("arrival"))
        if sequence.id in self._running:
            self._continue(sequence, step)
            return
        while not self._open(sequence):
            self._preempt(max(self._running.values(), key=attrgetter("arrival")))
        self._admit(sequence, step)

    def _give_row(self, sequence: Sequence, count: int, step: _Step) -> None:
        """Give a sequence a row of ``count`` tokens in this step. Its tenant pays once for each
        token: one that is computed again, or taken from the cache, costs nothing."""
        row = sequence.row(count, self.kv.tables(sequence))
        step.add(row)
        first = max(sequence.num_charged, sequence.num_computed)
        self._queue.charge(sequence.tenant, READ_COST * max(0, row.end - first))
        sequence.num_charged = max(sequence.num_charged, row.end)

    # -- after the step ---------------------------------------------------------------------

    def complete(self, batch: Batch, results: list[RowResult]) -> list[RequestOutput]:
        """Take in what the runner found, one result a row, and say what is new."""
        outputs = []
        for row, result in zip(batch.rows, results, strict=True):
            sequence, end = self._running[row.request_id], row.end
            if end >= self._suspects.get(row.request_id, 0):
                self._suspects.pop(row.request_id, None)
            if result.error is not None:
                if sequence.num_taken:
                    self._start_over(sequence)
                else:
                    outputs.append(self._fail(sequence, result.error))
                continue
            self.counters.prompt_tokens += max(0, min(end, sequence.num_prompt) - row.start)
            num_accepted = max(0, len(result.token_ids) - 1)
            sequence.num_computed = row.num_known + num_accepted
            if sequence.wants_prompt_logprobs:
                sequence.prompt_logprobs.extend(result.prompt_logprobs)
            is_whole = end >= len(sequence.token_ids)
            if result.pooled is not None and not is_whole:
                sequence.pooled_parts.append(result.pooled)
            if is_whole:
                outputs.append(self._advance(sequence, row, result))
        return outputs

    def _advance(self, sequence: Sequence, row: BatchRow, result: RowResult) -> RequestOutput:
        output = sequence.take(result, self.config.eos_token_ids)
        num_new = len(output.token_ids)
        if row.num_drafted:
            self._settle(sequence, row, output)
        self.counters.generated_tokens += num_new
        self._queue.charge(sequence.tenant, WRITE_COST * num_new)
        if output.finish_reason:
            self._remove(sequence)
        return output

    def _settle(self, sequence: Sequence, row: BatchRow, output: RequestOutput) -> None:
        """Keep what the accepted drafts of a row left, and nothing of the others."""
        num_accepted = sequence.num_computed - row.num_known
        self.kv.settle(sequence, row.num_known, num_accepted)
        self.kv.publish(sequence, min(sequence.num_computed, len(sequence.token_ids)))
        output.num_accepted = min(num_accepted, len(output.token_ids))
        output.num_rejected = row.num_drafted - output.num_accepted
        self.counters.accepted_tokens += output.num_accepted
        self.counters.rejected_tokens += output.num_rejected

    def _start_over(self, sequence: Sequence) -> None:
        """The fault may lie in blocks that another computed: try again without them."""
        self.kv.retract(sequence)
        self._preempt(sequence)
        sequence.takes_cached = False

    def _fail(self, sequence: Sequence, error: str) -> RequestOutput:
        self.kv.retract(sequence)
        self._remove(sequence)
        return RequestOutput(sequence.id, [], finish_reason="error", error=error)

    def step_failed(self, batch: Batch, error: str) -> list[RequestOutput]:
        """The runner raised. A row that ran alone fails; of several, each is tried alone next."""
        if len(batch.rows) == 1:
            return [self._fail(self._running[batch.rows[0].request_id], error)]
        self.step_undone(batch)
        self._suspects = {row.request_id: row.num_known for row in batch.rows}
        return []

    def step_undone(self, batch: Batch) -> None:
        """Nothing of the step is kept: its rows start anew, and their blocks are not shared."""
        for sequence in [self._running[row.request_id] for row in batch.rows]:
            self.kv.retract(sequence)
            self._preempt(sequence)


class _Step:
    """The rows gathered so far, the tokens still to be had, and whether the queue moves."""

    __slots__ = ("admits", "budget", "fixed", "rows")

    def __init__(self, budget: int) -> None:
        self.admits = True
        self.budget = budget
        self.fixed: set[str] = set()
        self.rows: dict[str, BatchRow] = {}

    def add(self, row: BatchRow) -> None:
        self.rows[row.request_id] = row
        self.budget -= len(row.token_ids)

    def drop(self, request_id: str) -> None:
        row = self.rows.pop(request_id, None)
        if row is not None:
            self.budget += len(row.token_ids)
