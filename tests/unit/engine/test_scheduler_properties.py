"""Whatever comes, goes, is preempted or fails: every answer is the one of a run alone.

A device in miniature checks the bookkeeping from below: each cell of its memory remembers which
token of which content was written there, and no query may read a cell that holds anything else.
The block of a state remembers the last token that went into it.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.pool_invariants import check_pool
from unisono.core import (
    Batch,
    BatchRow,
    CacheGroup,
    CacheKind,
    ManualClock,
    Request,
    RequestOutput,
    RowResult,
    SamplingParams,
    TokenLogprob,
)
from unisono.engine.block_pool import NULL_BLOCK
from unisono.engine.drafting.ngram import NgramDrafter
from unisono.engine.drafting.speculation import Speculation
from unisono.engine.kv_cache import peak_blocks
from unisono.engine.sampling.positions import accept, positions
from unisono.engine.scheduler import Scheduler, SchedulerConfig

EOS = 0
VOCABULARY = range(7)
DOCUMENTS = ((1, 2, 3, 4, 5, 6) * 5, (1, 2, 3, 4, 5, 6) * 2 + (6, 5, 4, 3, 2, 1) * 3, (3,) * 30)


def next_token(tokens: Sequence[int], params: SamplingParams, allow_stop: bool) -> int:
    """A model and a sampler: a pure function of the tokens so far."""
    never = () if allow_stop else (EOS, *params.stop_token_ids)
    choices = [token for token in VOCABULARY if token not in never]
    return choices[zlib.crc32(bytes(tokens)) % len(choices)]


def answer_alone(request: Request) -> tuple[list[int], str, int | None]:
    """New tokens, finish reason and stop token of a request that nothing disturbs."""
    params = request.params
    answer = list(request.resumed_token_ids)
    new: list[int] = []
    while params.max_tokens is None or len(answer) < params.max_tokens:
        can_stop = len(answer) >= params.min_tokens
        token = next_token([*request.prompt_token_ids, *answer], params, can_stop)
        answer.append(token)
        new.append(token)
        if can_stop and (
            (token == EOS and not params.ignore_eos) or token in params.stop_token_ids
        ):
            return new, "stop", token
    return new, "length", None


class Memory:
    """Cells of the pool's blocks. A content is a node of the tree of all token sequences."""

    def __init__(self, groups: tuple[CacheGroup, ...], num_blocks: int, block_size: int) -> None:
        self.groups = groups
        self.block_size = block_size
        self.cells: list[list[object]] = [[None] * block_size for _ in range(num_blocks)]
        self._nodes: dict[tuple[object, int], int] = {}

    def path(self, tenant: str, tokens: Sequence[int]) -> list[int]:
        """One node a token; two are equal only where tenant and all tokens before are."""
        path: list[int] = []
        at: object = tenant
        for token in tokens:
            at = self._nodes.setdefault((at, token), len(self._nodes))
            path.append(at)
        return path

    def write(self, rows: list[BatchRow], paths: dict[str, list[int]], *, broken: bool) -> None:
        written: set[tuple[int, int]] = set()
        self._move_states(rows, paths, broken=broken)
        for row in rows:
            for group in self._groups(of_states=False):
                for position in range(row.start, row.end):
                    block, offset = self._cell(row, group, position)
                    assert (block, offset) not in written, "two rows write one cell"
                    written.add((block, offset))
                    content = (group, position, paths[row.request_id][position])
                    self.cells[block][offset] = "garbage" if broken else content

    def _groups(self, *, of_states: bool) -> list[int]:
        return [g for g, spec in enumerate(self.groups) if (spec.kind == "state") == of_states]

    def _move_states(
        self, rows: list[BatchRow], paths: dict[str, list[int]], *, broken: bool
    ) -> None:
        """A row goes on from the state of the token before it, and leaves one in each block it
        reaches; rows may go on from what rows before them leave, and nobody else's is moved."""
        read_by: dict[int, str] = {}
        written_by: dict[int, str] = {}
        for row in rows:
            path = paths[row.request_id]
            for group in self._groups(of_states=True):
                if row.start:
                    block, _ = self._cell(row, group, row.start - 1)
                    read_by[block] = row.request_id
                    found = self.cells[block][0]
                    assert broken or found == (group, row.start - 1, path[row.start - 1])
                for position in range(row.start, row.end):
                    block, _ = self._cell(row, group, position)
                    if position >= row.num_known:
                        block = row.spare_blocks[group][position - row.num_known]
                    assert read_by.get(block, row.request_id) == row.request_id
                    assert written_by.setdefault(block, row.request_id) == row.request_id
                    content = (group, position, path[position])
                    self.cells[block] = ["garbage" if broken else content] * self.block_size

    def read(self, row: BatchRow, path: list[int]) -> None:
        for group in self._groups(of_states=False):
            spec = self.groups[group]
            first = 0 if spec.window is None else max(0, row.start - spec.window + 1)
            for position in range(first, row.end):
                block, offset = self._cell(row, group, position)
                assert self.cells[block][offset] == (group, position, path[position])

    def _cell(self, row: BatchRow, group: int, position: int) -> tuple[int, int]:
        block = row.block_tables[group][position // self.block_size]
        assert block != NULL_BLOCK
        return block, position % self.block_size


@dataclass
class Flight:
    """A request and what came out of it so far."""

    request: Request
    breaks_at: int | None
    tokens: list[int] = field(default_factory=list)
    outputs: list[RequestOutput] = field(default_factory=list)
    may_fail: bool = False

    def take(self, output: RequestOutput) -> None:
        self.outputs.append(output)
        self.tokens += output.token_ids
        tokens, reason, stop_token = answer_alone(self.request)
        assert self.tokens == tokens[: len(self.tokens)]
        if output.finish_reason == "error":
            assert self.may_fail
            assert output.error
        elif output.finish_reason is not None:
            assert (self.tokens, output.finish_reason) == (tokens, reason)
            assert output.stop_token_id == stop_token
        if output.finish_reason != "error":
            self.check_prompt_logprobs(output)

    def check_prompt_logprobs(self, output: RequestOutput) -> None:
        """Each prompt position once, with the first output."""
        prompt = self.request.prompt_token_ids
        if self.request.params.prompt_logprobs is None or len(self.outputs) > 1:
            assert output.prompt_logprobs is None
        else:
            assert output.prompt_logprobs == [None] + [
                prompt_logprob(position, prompt[position]) for position in range(1, len(prompt))
            ]


def prompt_logprob(position: int, token: int) -> TokenLogprob:
    return TokenLogprob(token, -float(position), 1)


GROUPS = st.one_of(
    st.sampled_from(
        [
            [("full", None)],
            [("full", None), ("full", None)],
            [("latent", None), ("window", 5)],
            [("window", 1)],
            [("window", 7), ("window", 3)],
            [("full", None), ("window", 9), ("window", 9), ("window", 2)],
            [("full", None), ("state", None)],
            [("state", None)],
            [("state", None), ("window", 3), ("state", None), ("full", None)],
        ]
    ),
    st.lists(
        st.one_of(st.just(("full", None)), st.tuples(st.just("window"), st.integers(1, 20))),
        min_size=1,
        max_size=3,
    ),
)


@st.composite
def configs(draw: st.DrawFn) -> SchedulerConfig:
    """Tiny pools, in which no more than one request is sure to fit."""
    specs: list[tuple[CacheKind, int | None]] = draw(GROUPS)
    groups = tuple(
        CacheGroup(kind=kind, window=window, layers=(index,))
        for index, (kind, window) in enumerate(specs)
    )
    block_size = draw(st.integers(1, 8))
    max_num_seqs = draw(st.integers(1, 5))
    budget = max_num_seqs + draw(st.integers(0, 14))
    max_model_len = draw(st.integers(12, 40))
    alone = peak_blocks(groups, block_size, max_model_len, budget)
    return SchedulerConfig(
        groups=groups,
        num_blocks=1 + alone + draw(st.integers(0, alone)),
        block_size=block_size,
        max_model_len=max_model_len,
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=budget,
        max_queue=1000,
        eos_token_ids=frozenset({EOS}),
        prefix_cache=draw(st.sampled_from([True, True, True, False])),
    )


@st.composite
def prompts(draw: st.DrawFn) -> tuple[int, ...]:
    document = draw(st.sampled_from(DOCUMENTS))
    tail = draw(st.lists(st.sampled_from(VOCABULARY), max_size=3))
    return (*document[: draw(st.integers(1, len(document)))], *tail)


@dataclass
class Ask:
    """A request before it is cut to the context."""

    prompt: tuple[int, ...]
    max_tokens: int
    min_tokens: int
    stop: tuple[int, ...]
    ignore_eos: bool
    prompt_logprobs: int | None
    priority: int
    tenant: str
    num_resumed: int
    breaks_at: int | None

    def request(self, request_id: str, max_model_len: int) -> Request:
        prompt = self.prompt[: max_model_len - 1]
        max_tokens = min(self.max_tokens, max_model_len - len(prompt))
        request = Request(
            id=request_id,
            prompt_token_ids=prompt,
            params=SamplingParams(
                max_tokens=max_tokens,
                min_tokens=min(self.min_tokens, max_tokens),
                stop_token_ids=self.stop,
                ignore_eos=self.ignore_eos,
                prompt_logprobs=self.prompt_logprobs,
            ),
            priority=self.priority,
            tenant=self.tenant,
        )
        emitted = answer_alone(request)[0][:-1][: self.num_resumed]
        return replace(request, resumed_token_ids=tuple(emitted))


def asks() -> st.SearchStrategy[Ask]:
    return st.builds(
        Ask,
        prompt=prompts(),
        max_tokens=st.sampled_from([25, 12, 12, 5, 2, 1, 0]),
        min_tokens=st.sampled_from([0, 0, 3, 9]),
        stop=st.sampled_from([(), (), (2,), (3, 4)]),
        ignore_eos=st.booleans(),
        prompt_logprobs=st.sampled_from([None, None, 0, 3]),
        priority=st.sampled_from([0, 0, 0, -1, 2]),
        tenant=st.sampled_from(["", "", "", "north"]),
        num_resumed=st.sampled_from([0, 0, 0, 1, 4]),
        breaks_at=st.sampled_from([None] * 9 + [0, 3, 17]),
    )


class Guesses(Speculation):
    """Knows what comes, but errs now and then: a pure function of the tokens so far."""

    def __init__(self) -> None:
        super().__init__(NgramDrafter(), 4)

    def draft(self, rows: Sequence[BatchRow], room: Sequence[int], total: int) -> list[list[int]]:
        drafts = []
        for row, most in zip(rows, room, strict=True):
            chance = zlib.crc32(bytes([9, *row.all_token_ids]))
            known = list(row.all_token_ids)
            for _ in range(max(0, min(most, total, chance % 6))):
                known.append(next_token(known, row.params, row.allow_stop))
            drafts.append(known[len(row.all_token_ids) :])
            if drafts[-1] and chance % 3 == 0:
                drafts[-1][chance % len(drafts[-1])] ^= 1
            total -= len(drafts[-1])
        return drafts


class Engine(RuleBasedStateMachine):
    """The scheduler over a device that checks every step."""

    @initialize(config=configs(), drafts=st.booleans())
    def start(self, config: SchedulerConfig, drafts: bool) -> None:
        self.config = config
        self.scheduler = Scheduler(config, ManualClock(), Guesses() if drafts else None)
        self.memory = Memory(config.groups, config.num_blocks, config.block_size)
        self.flights: dict[str, Flight] = {}
        self.suspects: dict[str, int] = {}
        self.num_requests = 0

    # -- what may happen --------------------------------------------------------------------

    @rule(asked=st.lists(asks(), min_size=1, max_size=4))
    def add(self, asked: list[Ask]) -> None:
        for ask in asked:
            self.num_requests += 1
            request = ask.request(f"r{self.num_requests}", self.config.max_model_len)
            self.flights[request.id] = Flight(
                request, ask.breaks_at, may_fail=ask.breaks_at is not None
            )
            self.scheduler.add(request)

    @precondition(lambda self: self.flights)
    @rule(pick=st.integers(0, 99))
    def abort(self, pick: int) -> None:
        request_id = list(self.flights)[pick % len(self.flights)]
        self.scheduler.abort(request_id)
        self.scheduler.abort(request_id)
        del self.flights[request_id]
        self.suspects.pop(request_id, None)
        check_pool(self.scheduler.kv.pool)

    @rule(count=st.integers(1, 9))
    def run(self, count: int) -> None:
        for _ in range(count):
            self.step()

    @precondition(lambda self: self.flights)
    @rule()
    def run_and_the_device_fails(self) -> None:
        self.step(device_fails=True)

    @precondition(lambda self: self.flights)
    @rule(pick=st.integers(0, 99))
    def run_and_one_row_fails(self, pick: int) -> None:
        self.step(failing_row=pick)

    def teardown(self) -> None:
        if not hasattr(self, "scheduler"):
            return
        size = sum(len(f.request.prompt_token_ids) + 25 for f in self.flights.values())
        for _ in range(50 + 6 * size):
            if not self.flights:
                break
            self.step()
        assert not self.flights, "a request does not end"
        assert not self.scheduler.has_work
        assert self.scheduler.num_running == self.scheduler.num_waiting == 0
        assert self.scheduler.kv.pool.num_free == self.config.num_blocks - 1

    # -- one step ---------------------------------------------------------------------------

    def step(self, *, device_fails: bool = False, failing_row: int | None = None) -> None:
        batch = self.scheduler.schedule()
        check_pool(self.scheduler.kv.pool)
        self.check_batch(batch)
        broken = device_fails or any(self.breaks(row) for row in batch.rows)
        paths = {
            row.request_id: self.memory.path(
                self.flights[row.request_id].request.tenant, [*row.all_token_ids, *row.drafts]
            )
            for row in batch.rows
        }
        self.memory.write(batch.rows, paths, broken=broken)
        if broken:
            self.fail_step(batch)
        else:
            for row in batch.rows:
                self.memory.read(row, paths[row.request_id])
            self.complete_step(batch, failing_row)
        check_pool(self.scheduler.kv.pool)
        assert self.scheduler.num_running + self.scheduler.num_waiting == len(self.flights)

    def breaks(self, row: BatchRow) -> bool:
        breaks_at = self.flights[row.request_id].breaks_at
        return breaks_at is not None and row.start <= breaks_at < row.end

    def fail_step(self, batch: Batch) -> None:
        if len(batch.rows) == 1:
            self.flights[batch.rows[0].request_id].may_fail = True
        else:
            self.suspects = {row.request_id: row.num_known for row in batch.rows}
        outputs = self.scheduler.step_failed(batch, "the device failed")
        assert len(outputs) == (len(batch.rows) == 1)
        self.take(outputs)

    def complete_step(self, batch: Batch, failing_row: int | None) -> None:
        results = [self.result(row) for row in batch.rows]
        if failing_row is not None:
            index = failing_row % len(batch.rows)
            results[index] = RowResult(error="not a number")
            self.flights[batch.rows[index].request_id].may_fail = True
        for row in batch.rows:
            if self.suspects.get(row.request_id, 0) <= row.end:
                self.suspects.pop(row.request_id, None)
        self.take(self.scheduler.complete(batch, results))

    def result(self, row: BatchRow) -> RowResult:
        chosen = [
            RowResult([next_token(at.all_token_ids, at.params, at.allow_stop)])
            for at in positions([replace(row, params=replace(row.params, frequency_penalty=1.0))])
        ]
        accepted = accept([row], chosen)[0].token_ids if chosen else []
        return RowResult(
            accepted,
            prompt_logprobs=[
                prompt_logprob(position, token)
                for position, token in enumerate(row.prompt_targets, row.start + 1)
            ],
        )

    def take(self, outputs: list[RequestOutput]) -> None:
        for output in outputs:
            self.flights[output.request_id].take(output)
            if output.finish_reason is not None:
                del self.flights[output.request_id]
                self.suspects.pop(output.request_id, None)

    # -- what holds of every batch ----------------------------------------------------------

    def check_batch(self, batch: Batch) -> None:
        ids = [row.request_id for row in batch.rows]
        assert bool(ids) == bool(self.flights), "work, but no step"
        assert len(ids) == len(set(ids)) <= self.config.max_num_seqs
        assert batch.num_tokens <= self.config.max_num_batched_tokens
        assert self.scheduler.num_running <= self.config.max_num_seqs
        for row in batch.rows:
            self.check_row(row, self.flights[row.request_id])
        if self.suspects:
            assert len(ids) == 1
            assert ids[0] in self.suspects
        else:
            self.check_priorities(batch)

    def check_row(self, row: BatchRow, flight: Flight) -> None:
        request = flight.request
        known = [*request.prompt_token_ids, *request.resumed_token_ids, *flight.tokens]
        assert list(row.all_token_ids) == known
        assert row.start < row.end
        assert list(row.token_ids) == [*known[row.start : row.num_known], *row.drafts]
        is_last = row.num_known == len(known) and request.params.max_tokens != 0
        assert row.num_logits == (1 + row.num_drafted if is_last else 0)
        if row.num_logits:
            assert row.sample_position == len(request.resumed_token_ids) + len(flight.tokens)

    def check_priorities(self, batch: Batch) -> None:
        """Less urgent rows beside a request that has none: single tokens, in a full step.

        Of one tenant alone: beside others, it may be another's turn.
        """
        if len({flight.request.tenant for flight in self.flights.values()}) > 1:
            return
        with_row = {row.request_id for row in batch.rows}
        without = [
            f.request.priority for f in self.flights.values() if f.request.id not in with_row
        ]
        for row in batch.rows:
            priority = self.flights[row.request_id].request.priority
            if without and min(without) < priority:
                assert len(row.token_ids) == 1 + row.num_drafted
                assert batch.num_tokens == self.config.max_num_batched_tokens


TestEngine = Engine.TestCase
TestEngine.settings = settings(
    max_examples=130,
    stateful_step_count=25,
)


@pytest.mark.parametrize("kinds", [("full",), ("state",), ("state", "full", "state")])
def test_many_drafts(kinds: tuple[CacheKind, ...]) -> None:
    """Long answers, of which most steps are drafted, and others that go on behind them."""
    numbers = random.Random(1)
    groups = tuple(CacheGroup(kind=kind, layers=(i,)) for i, kind in enumerate(kinds))
    for block_size in (1, 2, 3, 5):
        machine = Engine()
        machine.start(
            SchedulerConfig(
                groups=groups,
                num_blocks=1 + len(kinds) * (70 // block_size + 20),
                block_size=block_size,
                max_model_len=40,
                max_num_seqs=4,
                max_num_batched_tokens=24,
                max_queue=1000,
                eos_token_ids=frozenset({EOS}),
            ),
            True,
        )
        for _ in range(30):
            prompt = DOCUMENTS[numbers.randrange(3)][: numbers.randint(1, 9)]
            ask = Ask(prompt, 30, 0, (), True, None, 0, "", numbers.choice([0, 0, 9]), None)
            machine.add([ask])
            machine.run(numbers.randint(1, 5))
        machine.teardown()
        assert machine.scheduler.counters.accepted_tokens > 200
        assert machine.scheduler.counters.rejected_tokens > 20
