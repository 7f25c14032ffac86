"""Outputs leave the engine process together or at once."""

from __future__ import annotations

from unisono.core.clock import ManualClock
from unisono.core.request import FinishReason, RequestOutput, TokenLogprob
from unisono.server.engine.outbox import Outbox

NAMES = [str(i) for i in range(40)]


def output(name: str, *tokens: int, finish: FinishReason | None = None) -> RequestOutput:
    return RequestOutput(name, list(tokens), finish_reason=finish)


def leaving(outbox: Outbox) -> dict[str, list[int]]:
    return {output.request_id: output.token_ids for output in outbox.take()}


def begun(clock: ManualClock) -> Outbox:
    outbox = Outbox(clock)
    for name in NAMES:
        outbox.add(output(name, 1))
    assert leaving(outbox) == {name: [1] for name in NAMES}  # the first tokens at once
    return outbox


def test_quick_steps_of_many_requests_leave_together() -> None:
    clock = ManualClock()
    outbox = begun(clock)
    for token in (2, 3):
        for name in NAMES:
            outbox.add(output(name, token))
        assert leaving(outbox) == {}
        clock.advance(0.04)
    assert leaving(outbox) == {name: [2, 3] for name in NAMES}
    clock.advance(0.1)
    assert leaving(outbox) == {}
    outbox.add(output("1", 4))
    assert leaving(outbox) == {"1": [4]}


def test_a_last_output_leaves_at_once_and_alone() -> None:
    outbox = begun(ManualClock())
    outbox.add(output("1", 2))
    outbox.add(output("2", 2))
    outbox.add(output("1", 3, finish="stop"))
    (last,) = outbox.take()
    assert (last.request_id, last.token_ids, last.finish_reason) == ("1", [2, 3], "stop")
    outbox.add(output("3", 2, finish="length"))
    assert leaving(outbox) == {"3": [2]}


def test_one_request_waits_for_slow_steps_no_longer() -> None:
    clock = ManualClock()
    outbox = Outbox(clock)
    for token in range(5):
        clock.advance(0.002)
        outbox.add(output("a", token))
        assert leaving(outbox) == {"a": [token]}


def test_nobody_waits_for_aborted_requests() -> None:
    clock = ManualClock()
    outbox = begun(clock)
    outbox.add(output("1", 2, finish="stop"))
    outbox.forget("1")
    outbox.forget("never seen")
    clock.advance(1)
    assert leaving(outbox) == {}


def test_log_probabilities_stay_with_their_tokens() -> None:
    clock = ManualClock()
    outbox = begun(clock)
    for token in (2, 3):
        score = TokenLogprob(token, -1.0, 1)
        outbox.add(
            RequestOutput("1", [token], logprobs=[score], num_cached_tokens=7, num_accepted=1)
        )
    clock.advance(1)
    (found,) = outbox.take()
    assert [score.token_id for score in found.logprobs or ()] == found.token_ids == [2, 3]
    assert (found.num_cached_tokens, found.num_accepted) == (7, 2)
