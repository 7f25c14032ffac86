"""Decides how many tokens are drafted for each row of a step: as many as make answers sooner.

What a draft is worth follows from how often those before it came true, and what it costs from the
time that steps took. Pure, but for the drafter it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice, takewhile

from unisono.core.batch import Batch, BatchRow
from unisono.engine.drafting.acceptance import Acceptance
from unisono.engine.drafting.costs import Costs
from unisono.engine.drafting.drafter import Drafter

_LEAST_GAIN = 1.05
"""Times as many tokens a second as without drafts that have to be expected."""
_LEAST_CHANCE = 0.1
"""Chance below which no guess is worth a look."""
_PATIENCE = (16, 512)
"""Steps without drafts before a drafter that is not free is tried again: at first, and at most."""


@dataclass(slots=True)
class _Draft:
    """The guesses for one answer."""

    acceptance: Acceptance = field(default_factory=Acceptance)
    num_known: int = 0
    """Tokens of prompt and answer when the last ones were guessed."""
    guessed: list[int] = field(default_factory=list)
    num_idle: int = 0
    patience: int = _PATIENCE[0]


class Speculation:
    """Args:
    most: drafts of a row.
    eos_token_ids: which end an answer, so that nothing behind them is drafted.
    costs: of steps, as ``measure`` adds to them.
    """

    num_allowed: Callable[[BatchRow, Sequence[int]], int] | None = None
    """Drafts that a row's constraint lets pass; None: no row has one."""

    def __init__(
        self,
        drafter: Drafter,
        most: int,
        eos_token_ids: frozenset[int] = frozenset(),
        costs: Costs | None = None,
    ) -> None:
        self.drafter = drafter
        self.most = most
        self._eos_token_ids = eos_token_ids
        self._costs = costs or Costs()
        self._drafts: dict[str, _Draft] = {}

    def draft(self, rows: Sequence[BatchRow], room: Sequence[int], total: int) -> list[list[int]]:
        """Tokens for each row, at most so many as it has room for, and ``total`` for all."""
        states = [self._learned(row) for row in rows]
        if self.drafter.is_free:
            found = self.drafter.draft(rows, [self.most] * len(rows))
            usable = [min(len(one), most) for one, most in zip(found, room, strict=True)]
            wanted = self._wanted(states, usable)
        else:
            wanted = self._wanted(states, room)
            found = self.drafter.draft(rows, wanted) if any(wanted) else [[] for _ in rows]
        drafts = []
        for row, state, guessed, most in zip(rows, states, found, wanted, strict=True):
            state.num_known, state.guessed = len(row.all_token_ids), guessed
            drafts.append(self._cut(row, guessed[: min(most, total)]) if most and total else [])
            total -= len(drafts[-1])
        return drafts

    def _wanted(self, states: Sequence[_Draft], room: Sequence[int]) -> list[int]:
        if not any(room) or self._costs.is_due(len(states)):
            return [0] * len(states)
        times = self._costs.times(len(states), self.most)
        return [
            self._num_wanted(state, times, most) if most > 0 else 0
            for state, most in zip(states, room, strict=True)
        ]

    def _learned(self, row: BatchRow) -> _Draft:
        state = self._drafts.get(row.request_id)
        if state is None:
            state = self._drafts[row.request_id] = _Draft()
        came = row.all_token_ids[state.num_known :]
        if state.guessed and came:
            state.acceptance.learn(state.guessed, came)
            least, most = _PATIENCE
            is_true = state.guessed[0] == came[0]
            state.patience = least if is_true else min(most, 2 * state.patience)
        return state

    def _num_wanted(self, state: _Draft, times: Sequence[float], most: int) -> int:
        """The number of drafts with which most tokens come for the time that the step takes."""
        best, gain, expected = 0, _LEAST_GAIN, 1.0
        for count, chance in enumerate(islice(state.acceptance.chances(), most), start=1):
            if chance < _LEAST_CHANCE:
                break
            expected += chance
            if expected / times[count] > gain:
                best, gain = count, expected / times[count]
        if best or self.drafter.is_free:
            return best
        state.num_idle += 1
        if state.num_idle < state.patience:
            return 0
        state.num_idle = 0
        return 1

    def _cut(self, row: BatchRow, drafts: list[int]) -> list[int]:
        """Nothing from a token on that ends the answer, or that it may not have."""
        stops = set(row.params.stop_token_ids)
        if not row.params.ignore_eos:
            stops |= self._eos_token_ids
        drafts = list(takewhile(lambda token_id: token_id not in stops, drafts))
        if drafts and row.params.constraint is not None and self.num_allowed is not None:
            drafts = drafts[: self.num_allowed(row, drafts)]
        return drafts

    def measure(self, batch: Batch, seconds: float) -> None:
        """One step, which took so long."""
        if all(len(row.token_ids) == 1 + row.num_drafted for row in batch.rows):
            num_drafts = sum(row.num_drafted for row in batch.rows)
            self._costs.add(len(batch.rows), num_drafts, seconds)

    def forget(self, request_id: str) -> None:
        """The request is over."""
        self._drafts.pop(request_id, None)
        self.drafter.forget(request_id)
