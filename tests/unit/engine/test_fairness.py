"""Tenants share the engine: nobody starves, nothing is left idle, service stays even."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.pool_invariants import check_pool
from unisono.core import (
    Batch,
    CacheGroup,
    ManualClock,
    Request,
    RequestOutput,
    RowResult,
    SamplingParams,
)
from unisono.core.errors import QueueFullError
from unisono.engine.block_pool import BlockPool
from unisono.engine.scheduler import Scheduler, SchedulerConfig

BLOCK = 4


class Engine:
    """A scheduler over a runner that always says 1; remembers who was served how much."""

    def __init__(self, **changes: object) -> None:
        options: dict[str, object] = {
            "groups": (CacheGroup(kind="full", layers=(0,)),),
            "num_blocks": 65,
            "block_size": BLOCK,
            "max_model_len": 120,
            "max_num_seqs": 4,
            "max_num_batched_tokens": 16,
            "max_queue": 1000,
            "eos_token_ids": frozenset({0}),
        }
        config = SchedulerConfig(**{**options, **changes})  # type: ignore[arg-type]
        self.scheduler = Scheduler(config, ManualClock())
        self.service: Counter[str] = Counter()
        self.ended: list[str] = []
        self.tokens: Counter[str] = Counter()
        self._num_computed: Counter[str] = Counter()
        self._prompts = 0
        self._tenants: dict[str, str] = {}

    def add(
        self, tenant: str, prompt: int = 4, answer: int = 4, *, name: str = "", priority: int = 0
    ) -> str:
        """A request whose prompt nobody else has."""
        self._prompts += 1
        name = name or f"{tenant}-{self._prompts}"
        self._tenants[name] = tenant
        self.scheduler.add(
            Request(
                id=name,
                prompt_token_ids=(self._prompts + 1000,) * prompt,
                params=SamplingParams(max_tokens=answer),
                tenant=tenant,
                priority=priority,
            )
        )
        return name

    def step(self) -> Batch:
        batch = self.scheduler.schedule()
        self.complete(batch)
        return batch

    def complete(self, batch: Batch) -> None:
        for row in batch.rows:
            tenant = self._tenants[row.request_id]
            new = row.end - max(row.start, self._num_computed[row.request_id])
            self.service[tenant] += max(0, new) + row.num_logits
            self._num_computed[row.request_id] = max(row.end, self._num_computed[row.request_id])
        results = [RowResult([1] * row.num_logits) for row in batch.rows]
        self.take(self.scheduler.complete(batch, results))
        check_pool(self.scheduler.kv.pool)

    def take(self, outputs: list[RequestOutput]) -> None:
        for output in outputs:
            self.tokens[output.request_id] += len(output.token_ids)
            if output.finish_reason:
                assert output.finish_reason == "length"
                self.ended.append(output.request_id)

    def steps(self, limit: int = 20_000) -> Iterator[Batch]:
        for _ in range(limit):
            if not self.scheduler.has_work:
                return
            yield self.step()
        raise AssertionError("requests do not end")

    def running(self, tenant: str) -> int:
        return sum(self._tenants[name] == tenant for name in self.scheduler._running)


@pytest.mark.parametrize("priority", [0, -1000])
def test_a_flood_does_not_delay_another_tenant(priority: int) -> None:
    engine = Engine()
    for _ in range(300):
        engine.add("flood", 8, 8, priority=priority)
    for _ in range(20):
        engine.step()
    name = engine.add("quiet", 8, 8)
    num_steps = 0
    while name not in engine.ended:
        engine.step()
        num_steps += 1
    assert num_steps <= 12
    assert len(engine.ended) < 40


def test_a_tenant_alone_has_all_seats_and_blocks() -> None:
    engine = Engine(max_num_batched_tokens=300, max_num_seqs=3)
    for _ in range(3):
        engine.add("one", 80, 2)
    engine.step()
    assert engine.running("one") == 3
    assert engine.scheduler.kv.pool.num_held("one") == 60


def test_who_comes_back_is_owed_nothing() -> None:
    engine = Engine(max_num_seqs=2)
    for _ in range(40):
        engine.add("steady", 4, 4)
    for _ in range(60):
        engine.step()
    for _ in range(40):
        engine.add("newcomer", 4, 4)
    before = engine.service.copy()
    for _ in range(40):
        engine.step()
    gained = engine.service - before
    assert abs(gained["steady"] - gained["newcomer"]) <= 32


def test_seats_beyond_the_share_are_given_back() -> None:
    engine = Engine()
    for _ in range(4):
        engine.add("long", 4, 100)
    engine.step()
    assert engine.running("long") == 4
    for _ in range(4):
        engine.add("other", 4, 50)
    for _ in range(4):
        engine.step()
    assert (engine.running("long"), engine.running("other")) == (2, 2)


def test_blocks_beyond_the_share_are_given_back_and_no_more() -> None:
    engine = Engine(max_num_batched_tokens=240, max_num_seqs=8)
    for _ in range(4):
        engine.add("big", 60, 50)
    engine.step()
    assert engine.scheduler.kv.pool.num_held("big") == 60
    engine.add("other", 40, 8)
    engine.step()
    assert engine.running("other") == 1
    assert engine.scheduler.kv.pool.num_held("big") >= 32
    for _ in engine.steps():
        pass


def test_one_request_beyond_the_share_stays_until_it_ends() -> None:
    engine = Engine(max_num_batched_tokens=300, num_blocks=31)
    engine.add("big", 100, 20, name="b")
    engine.step()
    engine.add("other", 30, 4, name="o")
    for _ in engine.steps():
        pass
    assert engine.ended == ["b", "o"]
    assert engine.scheduler.counters.preemptions == 0


def test_who_fills_the_pool_pushes_out_its_own_content() -> None:
    pool = BlockPool(9)
    for owner, count in (("quiet", 2), ("loud", 6)):
        blocks = pool.allocate(count, owner=owner)
        for block in blocks:
            pool.publish(block, f"{owner}{block}".encode())
            pool.release(block)
    for _ in range(6):
        (block,) = pool.allocate(1, owner="loud")
        pool.publish(block, b"new%d" % block)
        pool.release(block)
        check_pool(pool)
    assert pool.find(b"quiet1") == 1
    assert pool.find(b"quiet2") == 2


def test_a_tenant_has_its_share_of_the_queue_beside_others_and_all_of_it_alone() -> None:
    engine = Engine(max_queue=10)
    for _ in range(10):
        engine.add("a")
    with pytest.raises(QueueFullError, match="10 requests wait"):
        engine.add("a")
    for _ in range(5):
        engine.add("b")
    with pytest.raises(QueueFullError, match="5 requests wait"):
        engine.add("b")
    with pytest.raises(QueueFullError):
        engine.add("a")
    engine.add("c")


sizes = st.tuples(st.integers(1, 60), st.integers(1, 40))
urgencies = st.sampled_from([-1000, 0, 0, 7])
asked = st.lists(st.tuples(sizes, urgencies), min_size=1, max_size=10)


@given(
    one=asked,
    two=asked,
    num_blocks=st.integers(31, 90),
    max_num_seqs=st.integers(1, 6),
    budget=st.integers(6, 64),
)
@settings(max_examples=40, deadline=None)
def test_backlogged_tenants_are_served_alike_whatever_they_call_urgent(
    one: list[tuple[tuple[int, int], int]],
    two: list[tuple[tuple[int, int], int]],
    num_blocks: int,
    max_num_seqs: int,
    budget: int,
) -> None:
    engine = Engine(num_blocks=num_blocks, max_num_seqs=max_num_seqs, max_num_batched_tokens=budget)
    for tenant, requests in (("one", one), ("two", two)):
        for (prompt, answer), priority in requests:
            engine.add(tenant, prompt, answer, priority=priority)
    # Theorem 4.4 of the paper: twice the larger of the longest prompt's cost and that of all
    # tokens that the memory holds
    bound = 2 * max(60, 2 * num_blocks * BLOCK)
    queue = engine.scheduler._queue
    for batch in engine.steps():
        assert batch.rows, "work, but nothing is computed"
        if queue.num_waiting("one") and queue.num_waiting("two"):
            assert abs(engine.service["one"] - engine.service["two"]) <= bound
    assert len(engine.ended) == len(one) + len(two)
    assert sum(engine.tokens.values()) == sum(size[1] for size, _ in (*one, *two))


@given(
    asked=st.lists(st.tuples(st.sampled_from("abc"), sizes), min_size=1, max_size=15),
    num_blocks=st.integers(31, 60),
)
@settings(max_examples=40, deadline=None)
def test_nothing_is_left_idle(asked: list[tuple[str, tuple[int, int]]], num_blocks: int) -> None:
    """A request waits only while all seats are taken, the step is full, or blocks are lacking."""
    engine = Engine(num_blocks=num_blocks)
    for tenant, (prompt, answer) in asked:
        engine.add(tenant, prompt, answer)
    scheduler = engine.scheduler
    while scheduler.has_work:
        num_preempted = scheduler.counters.preemptions
        batch = scheduler.schedule()
        assert batch.rows
        is_full = (
            batch.num_tokens == scheduler.config.max_num_batched_tokens
            or scheduler.num_running == scheduler.config.max_num_seqs
        )
        waiting = [s for s in scheduler._sequences.values() if s.id not in scheduler._running]
        if waiting and not is_full and scheduler.counters.preemptions == num_preempted:
            assert any(one.refused_at >= 0 for one in waiting)
        engine.complete(batch)
