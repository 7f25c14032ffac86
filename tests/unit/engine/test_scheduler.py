"""The scheduler's next step, by example."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.pool_invariants import check_pool
from unisono.core import (
    Batch,
    CacheGroup,
    ManualClock,
    Request,
    RequestOutput,
    RowResult,
    SamplingParams,
    TokenLogprob,
)
from unisono.core.errors import ContextLengthError, InvalidRequestError, QueueFullError
from unisono.engine.scheduler import Scheduler, SchedulerConfig

EOS = 0


def next_token(tokens: Sequence[int]) -> int:
    return 1 + sum(tokens) * len(tokens) % 97


def answer(prompt: Sequence[int], count: int) -> list[int]:
    tokens = list(prompt)
    for _ in range(count):
        tokens.append(next_token(tokens))
    return tokens[len(prompt) :]


class Engine:
    """A scheduler whose runner is a sum; ``say`` overrides the next token of a request."""

    def __init__(self, **changes: object) -> None:
        options: dict[str, object] = {
            "groups": (CacheGroup(kind="full", layers=(0,)),),
            "num_blocks": 100,
            "block_size": 4,
            "max_model_len": 60,
            "max_num_seqs": 4,
            "max_num_batched_tokens": 16,
            "max_queue": 8,
            "eos_token_ids": frozenset({EOS}),
        }
        self.clock = ManualClock()
        self.scheduler = Scheduler(
            SchedulerConfig(**{**options, **changes}),  # type: ignore[arg-type]
            self.clock,
        )
        self.say: dict[str, list[int]] = {}
        self.tokens: dict[str, list[int]] = {}
        self.last: dict[str, RequestOutput] = {}

    def add(
        self,
        request_id: str,
        prompt: Sequence[int],
        *,
        priority: int = 0,
        tenant: str = "",
        resumed: tuple[int, ...] = (),
        max_tokens: int | None = 4,
        **params: object,
    ) -> None:
        self.scheduler.add(
            Request(
                id=request_id,
                prompt_token_ids=tuple(prompt),
                params=SamplingParams(max_tokens=max_tokens, **params),  # type: ignore[arg-type]
                priority=priority,
                tenant=tenant,
                resumed_token_ids=resumed,
            )
        )

    def step(self, fail: Sequence[str] = ()) -> dict[str, tuple[int, int]]:
        """Run one step; ``{request: (start, end)}``. Rows named in ``fail`` fail alone."""
        batch = self.scheduler.schedule()
        self.take(
            self.scheduler.complete(
                batch,
                [
                    RowResult(error="not a number")
                    if row.request_id in fail
                    else RowResult(
                        [self.token(row.request_id, row.all_token_ids)] * row.num_logits,
                        prompt_logprobs=[TokenLogprob(t, -1.0, 1) for t in row.prompt_targets],
                    )
                    for row in batch.rows
                ],
            )
        )
        return spans(batch)

    def broken_step(self) -> dict[str, tuple[int, int]]:
        batch = self.scheduler.schedule()
        self.take(self.scheduler.step_failed(batch, "the device failed"))
        return spans(batch)

    def token(self, request_id: str, tokens: Sequence[int]) -> int:
        said = self.say.get(request_id)
        return said.pop(0) if said else next_token(tokens)

    def take(self, outputs: list[RequestOutput]) -> None:
        for output in outputs:
            self.last[output.request_id] = output
            self.tokens.setdefault(output.request_id, []).extend(output.token_ids)

    def run(self) -> None:
        while self.scheduler.has_work:
            self.step()

    def is_empty(self) -> bool:
        pool = self.scheduler.kv.pool
        check_pool(pool)
        return not self.scheduler.has_work and pool.num_free == pool.num_blocks - 1


def spans(batch: Batch) -> dict[str, tuple[int, int]]:
    return {row.request_id: (row.start, row.end) for row in batch.rows}


# -- the budget of a step -------------------------------------------------------------------


def test_a_prompt_runs_at_once_then_token_by_token() -> None:
    engine = Engine()
    engine.add("a", [1, 2, 3], max_tokens=3)
    assert [engine.step() for _ in range(4)] == [{"a": (0, 3)}, {"a": (3, 4)}, {"a": (4, 5)}, {}]
    assert engine.tokens["a"] == answer([1, 2, 3], 3)
    assert engine.last["a"].finish_reason == "length"
    assert engine.is_empty()


def test_decodes_come_first_and_chunks_of_prompts_share_what_is_left() -> None:
    engine = Engine()
    engine.add("a", [1, 2, 3])
    engine.step()
    engine.add("long", range(10, 30))
    engine.add("next", range(40, 46))
    assert engine.step() == {"a": (3, 4), "long": (0, 15)}
    assert engine.step() == {"a": (4, 5), "long": (15, 20), "next": (0, 6)}


def test_there_are_never_more_rows_than_max_num_seqs() -> None:
    engine = Engine(max_num_seqs=2)
    for name in "abc":
        engine.add(name, [1, 2], max_tokens=1 if name == "a" else 3)
    assert list(engine.step()) == ["a", "b"]
    assert list(engine.step()) == ["b", "c"]


def test_a_small_request_does_not_pass_by_a_large_one() -> None:
    engine = Engine(num_blocks=17, max_num_batched_tokens=60)
    engine.add("running", range(40), max_tokens=2)
    engine.step()
    engine.add("large", range(100, 140))
    engine.add("small", [1])
    assert engine.step() == {"running": (40, 41)}
    assert list(engine.step()) == ["large", "small"]


def test_a_request_that_does_not_fit_is_looked_up_again_when_more_is_free() -> None:
    engine = Engine(num_blocks=17, max_num_batched_tokens=60)
    engine.add("running", range(40), max_tokens=3)
    engine.step()
    opened: list[str] = []
    look_up = engine.scheduler.kv.open
    engine.scheduler.kv.open = lambda seq: (opened.append(seq.id), look_up(seq))[1]  # type: ignore[method-assign]
    engine.add("large", range(100, 140))
    for _ in range(3):
        engine.step()
    assert opened == ["large", "large"]
    assert engine.scheduler.num_running == 1


# -- priorities -----------------------------------------------------------------------------


def test_the_more_urgent_request_is_admitted_first() -> None:
    engine = Engine(max_num_seqs=1)
    engine.add("usual", [1], max_tokens=1)
    engine.add("urgent", [2], max_tokens=1, priority=-1)
    assert list(engine.step()) == ["urgent"]
    assert list(engine.step()) == ["usual"]


def test_an_urgent_request_takes_the_seat_of_a_less_urgent_one() -> None:
    engine = Engine(max_num_seqs=2, max_num_batched_tokens=2)
    engine.add("early", [1])
    engine.add("late", [2])
    engine.step()
    engine.add("urgent", [3], priority=-1)
    assert engine.step() == {"early": (1, 2), "urgent": (0, 1)}
    engine.run()
    assert engine.scheduler.counters.preemptions == 1
    assert engine.tokens["late"] == answer([2], 4)


def test_an_urgent_request_takes_the_blocks_of_a_less_urgent_one() -> None:
    engine = Engine(num_blocks=16, max_num_batched_tokens=60)
    engine.add("usual", range(40))
    engine.step()
    engine.add("urgent", range(100, 140), priority=-1)
    assert engine.step() == {"urgent": (0, 40)}
    engine.run()
    assert engine.tokens["usual"] == answer(range(40), 4)


def test_an_urgent_request_does_not_wait_for_a_long_prompt_under_way() -> None:
    engine = Engine()
    engine.add("long", range(40))
    assert engine.step() == {"long": (0, 16)}
    engine.add("urgent", range(100, 110), priority=-1)
    assert engine.step() == {"urgent": (0, 10), "long": (16, 22)}


def test_equals_keep_the_order_of_arrival() -> None:
    engine = Engine()
    engine.add("long", range(40))
    engine.step()
    engine.add("short", [1, 2])
    assert engine.step() == {"long": (16, 32)}
    assert engine.step() == {"long": (32, 40), "short": (0, 2)}


# -- preemption -----------------------------------------------------------------------------


def test_the_last_in_rank_gives_its_blocks_back_and_its_answer_does_not_change() -> None:
    engine = Engine(num_blocks=16)
    engine.add("first", range(24), max_tokens=12)
    engine.add("second", range(50, 74), max_tokens=12)
    starts = []
    while engine.scheduler.has_work:
        starts += [start for name, (start, _) in engine.step().items() if name == "first"]
    assert starts == [0, 16, *range(24, 35)]
    assert engine.scheduler.counters.preemptions > 0
    assert engine.tokens["first"] == answer(range(24), 12)
    assert engine.tokens["second"] == answer(range(50, 74), 12)
    assert engine.is_empty()


def test_a_prompt_takes_the_blocks_of_a_decode_that_has_its_row_already() -> None:
    engine = Engine(num_blocks=16, max_num_batched_tokens=8)
    engine.add("usual", range(100, 104), max_tokens=40)
    engine.step()
    engine.step()
    engine.add("urgent", range(50), priority=-1, max_tokens=2)
    steps = [engine.step() for _ in range(7)]
    assert steps[5] == {"usual": (10, 11), "urgent": (35, 42)}
    assert steps[6] == {"urgent": (42, 49)}
    engine.run()
    assert engine.tokens["usual"] == answer(range(100, 104), 40)
    assert engine.tokens["urgent"] == answer(range(50), 2)


def test_a_pool_that_cannot_hold_one_request_is_refused() -> None:
    with pytest.raises(ValueError, match="15 blocks hold one request; 14 are there"):
        Engine(num_blocks=15)
    Engine(num_blocks=16)


# -- the prefix cache -----------------------------------------------------------------------


def test_a_beginning_is_shared_with_finished_running_and_same_step_requests() -> None:
    engine = Engine(max_num_batched_tokens=40)
    prompt = range(9)
    engine.add("finished", prompt, max_tokens=1)
    engine.run()
    engine.add("after", [*prompt, 20], max_tokens=30)
    assert engine.step() == {"after": (8, 10)}
    engine.add("beside", [*prompt, 20, 30])
    engine.add("same step", [*prompt, 20, 30, 31, 32])
    engine.add("of the same step", [*prompt, 20, 30, 31, 32])
    assert engine.step() == {
        "after": (10, 11),
        "beside": (8, 11),
        "same step": (8, 13),
        "of the same step": (12, 13),
    }
    assert engine.last["of the same step"].num_cached_tokens == 12
    assert engine.scheduler.kv.num_hit_tokens == 8 + 8 + 8 + 12
    assert engine.scheduler.kv.num_queried_tokens == 9 + 10 + 11 + 13 + 13


def test_the_chunk_of_a_prompt_under_way_is_shared_at_once() -> None:
    engine = Engine()
    engine.add("long", range(24))
    engine.step()
    engine.add("alike", [*range(24), 30])
    assert engine.step() == {"long": (16, 24), "alike": (24, 25)}


def test_tenants_do_not_share() -> None:
    engine = Engine(max_num_batched_tokens=40)
    for tenant in ("north", "south", "north"):
        engine.add(f"{tenant} {engine.scheduler.num_waiting}", range(9), tenant=tenant)
    assert engine.step() == {"north 0": (0, 9), "south 1": (0, 9), "north 2": (8, 9)}


def test_an_answer_is_part_of_the_next_prompt() -> None:
    engine = Engine()
    engine.add("turn 1", range(6), max_tokens=3)
    engine.run()
    engine.add("turn 2", [*range(6), *engine.tokens["turn 1"], 9])
    assert engine.step() == {"turn 2": (8, 10)}


# -- the end of an answer -------------------------------------------------------------------


def test_the_end_of_sequence_token_ends_the_answer() -> None:
    engine = Engine()
    engine.say["a"] = [5, EOS]
    engine.add("a", [1])
    engine.run()
    assert engine.tokens["a"] == [5, EOS]
    assert (engine.last["a"].finish_reason, engine.last["a"].stop_token_id) == ("stop", EOS)


def test_so_does_a_stop_token_but_not_an_ignored_end_of_sequence() -> None:
    engine = Engine()
    engine.say["a"] = [EOS, 7, 8]
    engine.add("a", [1], ignore_eos=True, stop_token_ids=(7,))
    engine.run()
    assert engine.tokens["a"] == [EOS, 7]
    assert engine.last["a"].stop_token_id == 7


def drafted(engine: Engine, drafts: list[int], accepted: list[int]) -> Batch:
    """A step whose only row also computes ``drafts``; of its tokens ``accepted`` are taken."""
    (row,) = engine.scheduler.schedule().rows
    token_ids = [*row.token_ids, *drafts]
    batch = Batch([replace(row, token_ids=token_ids, num_logits=1 + len(drafts))])
    engine.take(engine.scheduler.complete(batch, [RowResult(accepted)]))
    return batch


def test_accepted_drafts_are_in_the_cache_and_rejected_ones_are_computed_again() -> None:
    engine = Engine()
    engine.add("a", [1, 2, 3], max_tokens=9)
    engine.step()
    before = list(engine.tokens["a"])
    row = drafted(engine, [5, 6, 7], [5, 6, 8]).rows[0]
    assert row.sample_position == 1
    assert engine.tokens["a"] == [*before, 5, 6, 8]
    (following,) = engine.scheduler.schedule().rows
    assert (following.token_ids, following.start, following.num_logits) == ([8], 6, 1)
    assert engine.scheduler.counters.generated_tokens == 4


def test_tokens_behind_a_stop_or_the_last_one_are_left_out() -> None:
    engine = Engine()
    engine.add("a", [1, 2, 3], max_tokens=9)
    engine.step()
    drafted(engine, [5, EOS, 7], [5, EOS, 7, 8])
    assert engine.tokens["a"][1:] == [5, EOS]
    assert (engine.last["a"].finish_reason, engine.last["a"].stop_token_id) == ("stop", EOS)
    engine.add("b", [1, 2, 3], max_tokens=3)
    engine.step()
    drafted(engine, [5, 6], [5, 6, 7])
    assert engine.tokens["b"][1:] == [5, 6]
    assert engine.last["b"].finish_reason == "length"
    assert not engine.scheduler.has_work


def test_before_min_tokens_nothing_stops() -> None:
    engine = Engine()
    engine.add("a", [1], min_tokens=2)
    allowed = []
    for _ in range(3):
        batch = engine.scheduler.schedule()
        allowed.append(batch.rows[0].allow_stop)
        engine.take(engine.scheduler.complete(batch, [RowResult([EOS])]))
    assert allowed == [False, False, True]
    assert engine.tokens["a"] == [EOS, EOS, EOS]
    assert engine.last["a"].finish_reason == "stop"


def test_without_max_tokens_the_context_is_the_limit() -> None:
    engine = Engine()
    engine.add("a", range(50), max_tokens=None)
    engine.run()
    assert len(engine.tokens["a"]) == 10
    assert engine.last["a"].finish_reason == "length"


def test_no_tokens_are_generated_where_none_are_wanted() -> None:
    engine = Engine()
    engine.add("a", range(20), max_tokens=0, prompt_logprobs=0)
    engine.run()
    output = engine.last["a"]
    assert (output.token_ids, output.finish_reason) == ([], "length")
    assert output.prompt_logprobs == [None, *(TokenLogprob(t, -1.0, 1) for t in range(1, 20))]
    assert engine.scheduler.counters.generated_tokens == 0


def test_prompt_logprobs_come_once_and_cover_each_position_in_spite_of_chunks_and_cache() -> None:
    engine = Engine()
    engine.add("before", range(20), max_tokens=1)
    engine.run()
    engine.add("a", range(20), max_tokens=2, prompt_logprobs=1)
    targets = []
    while engine.scheduler.has_work:
        batch = engine.scheduler.schedule()
        targets.append(list(batch.rows[0].prompt_targets))
        engine.take(engine.scheduler.complete(batch, [RowResult([5] * batch.rows[0].num_logits)]))
    assert targets == [list(range(1, 17)), [17, 18, 19], []]


def test_a_resumed_answer_goes_on_behind_what_was_emitted() -> None:
    whole = answer([1, 2, 3], 6)
    engine = Engine()
    engine.add("a", [1, 2, 3], resumed=tuple(whole[:4]), max_tokens=6)
    batch = engine.scheduler.schedule()
    assert [(row.start, row.end, row.sample_position) for row in batch.rows] == [(0, 7, 4)]
    engine.take(engine.scheduler.complete(batch, [RowResult([whole[4]])]))
    engine.run()
    assert engine.tokens["a"] == whole[4:]


# -- aborts ---------------------------------------------------------------------------------


def test_abort_in_every_state() -> None:
    engine = Engine(max_num_seqs=2)
    engine.add("decoding", [1])
    engine.step()
    engine.add("in its prompt", range(40))
    engine.add("waiting", [2])
    engine.step()
    for name in ("in its prompt", "waiting", "decoding", "decoding", "unknown"):
        engine.scheduler.abort(name)
    assert engine.is_empty()
    assert engine.step() == {}


def test_abort_of_a_preempted_and_of_a_suspected_request() -> None:
    engine = Engine(max_num_seqs=1)
    engine.add("preempted", [1])
    engine.step()
    engine.add("urgent", [2], priority=-1)
    engine.step()
    engine.scheduler.abort("preempted")
    engine.run()
    assert engine.tokens["preempted"] == answer([1], 1)

    engine = Engine()
    engine.add("suspect", [1])
    engine.add("other", [2])
    engine.broken_step()
    engine.scheduler.abort("suspect")
    engine.run()
    assert engine.tokens == {"other": answer([2], 4)}
    assert engine.is_empty()


# -- failures -------------------------------------------------------------------------------


def test_a_row_that_fails_takes_its_request_alone_with_it() -> None:
    engine = Engine()
    engine.add("bad", range(9))
    engine.add("good", range(20, 25))
    engine.step(fail=["bad"])
    assert (engine.last["bad"].finish_reason, engine.last["bad"].error) == ("error", "not a number")
    engine.run()
    assert engine.tokens["good"] == answer(range(20, 25), 4)
    engine.add("same prompt", range(9))
    assert engine.step() == {"same prompt": (0, 9)}  # nothing of the bad one is shared


def test_a_row_that_read_blocks_of_others_starts_over_without_them_before_it_fails() -> None:
    engine = Engine()
    engine.add("other", range(9), max_tokens=1)
    engine.run()
    engine.add("reader", range(10))
    assert engine.step(fail=["reader"]) == {"reader": (8, 10)}
    assert "reader" not in engine.last
    assert engine.step() == {"reader": (0, 10)}
    engine.run()
    assert engine.tokens["reader"] == answer(range(10), 4)
    assert engine.is_empty()

    engine.add("again", range(12))
    engine.step(fail=["again"])
    engine.step(fail=["again"])
    assert engine.last["again"].finish_reason == "error"
    assert engine.is_empty()


def test_after_a_failed_step_each_row_is_tried_alone() -> None:
    engine = Engine()
    engine.add("bad", range(9))
    engine.add("good", range(9))
    engine.broken_step()
    assert not engine.last
    assert engine.broken_step() == {"bad": (0, 9)}
    assert engine.last["bad"].finish_reason == "error"
    assert engine.step() == {"good": (0, 9)}
    engine.run()
    assert engine.tokens["good"] == answer(range(9), 4)
    assert engine.is_empty()


def test_the_request_at_fault_is_found_behind_its_first_chunk() -> None:
    """Each is alone until it is past the point of failure, so the others get on."""
    engine = Engine(max_num_batched_tokens=8)
    engine.add("good", range(100, 124))
    engine.add("bad", range(20))
    while engine.scheduler.has_work:
        batch = engine.scheduler.schedule()
        assert engine.scheduler.counters.preemptions < 20
        if any(row.request_id == "bad" and row.end > 12 for row in batch.rows):
            engine.take(engine.scheduler.step_failed(batch, "the device failed"))
        else:
            results = [RowResult([next_token(r.all_token_ids)] * r.num_logits) for r in batch.rows]
            engine.take(engine.scheduler.complete(batch, results))
    assert engine.last["bad"].finish_reason == "error"
    assert engine.tokens["good"] == answer(range(100, 124), 4)


def test_a_step_that_is_undone_leaves_nothing_to_share_and_its_rows_go_on() -> None:
    engine = Engine()
    engine.add("old", range(30, 35))
    engine.step()
    engine.add("left", range(9))
    engine.add("kept", range(9))
    engine.scheduler.step_undone(engine.scheduler.schedule())
    engine.scheduler.abort("left")
    assert engine.step() == {"old": (0, 6), "kept": (0, 9)}
    engine.run()
    assert engine.tokens["kept"] == answer(range(9), 4)
    assert engine.tokens["old"] == answer(range(30, 35), 4)
    assert engine.is_empty()


# -- what is refused ------------------------------------------------------------------------


def test_requests_that_can_never_run_are_refused() -> None:
    engine = Engine()
    with pytest.raises(InvalidRequestError, match="empty"):
        engine.add("a", [])
    with pytest.raises(ContextLengthError, match=r"maximum context length is 60 tokens.* has 60"):
        engine.add("a", range(60))
    with pytest.raises(ContextLengthError, match="at most 10 tokens") as caught:
        engine.add("a", range(50), max_tokens=11)
    assert caught.value.param == "max_tokens"
    engine.add("a", range(60), max_tokens=0)
    with pytest.raises(InvalidRequestError, match="in flight"):
        engine.add("a", [1])
    assert engine.scheduler.num_waiting == 1


@pytest.mark.parametrize(("max_tokens", "num_resumed"), [(4, 4), (4, 70), (0, 1), (0, 70)])
def test_a_resumed_answer_that_is_complete_is_refused(max_tokens: int, num_resumed: int) -> None:
    with pytest.raises(InvalidRequestError, match="resumed"):
        Engine().add("a", [1], resumed=(5,) * num_resumed, max_tokens=max_tokens)


def test_a_full_queue_says_when_to_come_back() -> None:
    engine = Engine(max_queue=2)
    engine.add("a", [1])
    engine.add("b", [1])
    with pytest.raises(QueueFullError) as caught:
        engine.add("c", [1])
    assert caught.value.retry_after_s == 1
    engine.step()
    engine.add("c", [1])


# -- figures --------------------------------------------------------------------------------


def test_the_oldest_wait_is_read_from_the_given_clock() -> None:
    engine = Engine(max_num_seqs=1)
    engine.add("a", [1])
    engine.clock.advance(3.0)
    engine.add("b", [1])
    engine.clock.advance(2.0)
    assert engine.scheduler.oldest_wait_s() == 5.0
    engine.step()
    assert engine.scheduler.oldest_wait_s() == 2.0
    engine.run()
    assert engine.scheduler.oldest_wait_s() == 0.0


def test_counters() -> None:
    engine = Engine()
    engine.add("a", range(20), max_tokens=3)
    engine.run()
    engine.add("b", range(20), max_tokens=3)
    engine.run()
    counters = engine.scheduler.counters
    assert (counters.prompt_tokens, counters.generated_tokens) == (20 + 4, 6)
    assert counters.preemptions == 0


@pytest.mark.parametrize(
    "module",
    [
        "unisono",
        "unisono.core",
        "unisono.engine",
        "unisono.engine.block_budget",
        "unisono.engine.engine",
        "unisono.engine.kv_cache",
        "unisono.engine.pages",
        "unisono.engine.scheduler",
    ],
)
def test_it_runs_without_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
