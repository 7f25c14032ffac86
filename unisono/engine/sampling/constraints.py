"""Constraints of the requests in flight, and the masks of a step, made in threads beside it.

A constraint's state is a function of the answer's token ids: it follows the row of each step, and
is made anew where the row has come another way. What a constraint means is its compiler's affair.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from unisono.core.batch import BatchRow
from unisono.core.constraint import Constraint
from unisono.core.errors import InvalidRequestError
from unisono.core.request import Request

_WORD_BITS = 64
_log = logging.getLogger(__name__)


class Matcher(Protocol):
    """The state of one answer. Its errors fail that answer alone."""

    @property
    def is_free(self) -> bool:
        """True where the constraint has not begun."""
        ...

    @property
    def may_end(self) -> bool:
        """True where the answer is whole."""
        ...

    def advance(self, token_ids: Sequence[int]) -> None:
        """Take in tokens of the answer."""
        ...

    def copy(self) -> Matcher:
        """The same state, which goes its own way."""
        ...

    def fill(self, address: int, room: int | None) -> None:
        """Write the mask of the next token: bit i of little-endian words is token i. ``room``:
        tokens that may still come, if that is known."""
        ...


class Compiler(Protocol):
    """Makes matchers, for one model; used from several threads."""

    def matcher(self, constraint: Constraint) -> Matcher:
        """A matcher at the beginning of an answer.

        Raises:
            InvalidRequestError: the constraint cannot be enforced, or takes too much.
        """
        ...


@dataclass(slots=True)
class Masks:
    """Masks for some rows of a step."""

    rows: list[int] = field(default_factory=list)
    """Their indices among the rows that get a token."""
    words: Tensor = field(default_factory=lambda: torch.empty(0, 0, dtype=torch.int64))
    """int64 [len(rows), W]: bit i of a row is token i."""
    errors: dict[int, str] = field(default_factory=dict)
    """Rows that fail, and why."""


@dataclass(slots=True)
class _State:
    constraint: Constraint
    matcher: Matcher
    num_taken: int = 0
    """Tokens of the answer that the matcher has taken in."""


class Constraints:
    """Args:
    compiler: of the model that is run.
    vocab_size: length of a row of logits.
    """

    def __init__(self, compiler: Compiler, vocab_size: int) -> None:
        self._compiler = compiler
        self._num_words = -(-vocab_size // _WORD_BITS)
        self._states: dict[str, _State] = {}
        self._coming: dict[str, Future[Matcher]] = {}
        self._compiling = ThreadPoolExecutor(1, "compile constraints")
        self._masking = ThreadPoolExecutor(1, "mask tokens")

    # -- requests come and go ---------------------------------------------------------------

    def add(self, request: Request) -> None:
        """Begin to compile the constraint of a request that has one."""
        assert request.params.constraint is not None
        self._coming[request.id] = self._compiling.submit(
            self._compiler.matcher, request.params.constraint
        )
        self._states.pop(request.id, None)

    def take_ready(self, request: Request) -> bool:
        """False while its constraint is being compiled.

        Raises:
            InvalidRequestError: it cannot be enforced.
        """
        if not self._coming[request.id].done():
            return False
        constraint = request.params.constraint
        assert constraint is not None
        self._states[request.id] = _State(constraint, self._coming.pop(request.id).result())
        return True

    def wait(self, seconds: float) -> None:
        """Until something has been compiled, but no longer than so."""
        wait(self._coming.values(), timeout=seconds, return_when="FIRST_COMPLETED")

    def remove(self, request_id: str) -> None:
        """Forget a request; unknown ids are ignored."""
        self._states.pop(request_id, None)
        if (coming := self._coming.pop(request_id, None)) is not None:
            coming.cancel()

    # -- one step ---------------------------------------------------------------------------

    def begin(self, rows: Sequence[BatchRow]) -> Future[Masks] | None:
        """Start to make the masks of a step; ``rows`` are those that get a token."""
        if not any(row.params.constraint for row in rows):
            return None
        return self._masking.submit(self._make, rows)

    def _make(self, rows: Sequence[BatchRow]) -> Masks:
        masks = Masks()
        words = []
        trial: Matcher | None = None
        before = ""
        for index, row in enumerate(rows):
            if row.params.constraint is None:
                continue
            is_drafted, before = row.request_id == before, row.request_id
            try:
                trial = self._along(trial, row) if is_drafted else self._advanced(row)
                mask = self._mask(trial, row)
            except Exception as error:  # of this row alone
                if not is_drafted:
                    self._states.pop(row.request_id, None)
                masks.errors[index], trial = str(error), None
                continue
            if mask is not None:
                masks.rows.append(index)
                words.append(mask)
        if words:
            masks.words = torch.stack(words)
        return masks

    def _along(self, trial: Matcher | None, row: BatchRow) -> Matcher:
        """The matcher behind one more draft; that of the answer itself stays where it is."""
        if trial is None:
            raise InvalidRequestError("the constraint failed before this position")
        if trial is self._states[row.request_id].matcher:
            trial = trial.copy()
        trial.advance(row.all_token_ids[-1:])
        return trial

    def num_allowed(self, row: BatchRow, drafts: Sequence[int]) -> int:
        """Drafts behind a row that its constraint lets pass, between two steps."""
        return self._masking.submit(self._num_allowed, row, drafts).result()

    def _num_allowed(self, row: BatchRow, drafts: Sequence[int]) -> int:
        count = 0
        try:
            trial = self._advanced(row).copy()
            for draft in drafts:
                trial.advance([draft])
                count += 1
        except Exception:
            _log.debug("a draft ends where its constraint does", exc_info=True)
        return count

    def _mask(self, matcher: Matcher, row: BatchRow) -> Tensor | None:
        if matcher.is_free:
            return None
        mask = torch.zeros(self._num_words, dtype=torch.int64)
        most = row.params.max_tokens
        num_answer = len(row.all_token_ids) - row.num_prompt_tokens
        matcher.fill(mask.data_ptr(), None if most is None else most - num_answer)
        if row.params.stop_token_ids and matcher.may_end:
            _set(mask, row.params.stop_token_ids)
        allowed = row.params.allowed_token_ids
        if allowed is not None and not _has_any(mask, allowed):
            raise InvalidRequestError("allowed_token_ids leave no token that its constraint allows")
        return mask

    def _advanced(self, row: BatchRow) -> Matcher:
        """The matcher of a row, where its answer is now."""
        constraint = row.params.constraint
        assert constraint is not None
        num_answer = len(row.all_token_ids) - row.num_prompt_tokens
        state = self._states.get(row.request_id)
        if state is None or state.num_taken > num_answer:
            state = _State(constraint, self._compiler.matcher(constraint))
            self._states[row.request_id] = state
        state.matcher.advance(row.all_token_ids[row.num_prompt_tokens + state.num_taken :])
        state.num_taken = num_answer
        return state.matcher

    def close(self) -> None:
        for threads in (self._compiling, self._masking):
            threads.shutdown(wait=False, cancel_futures=True)


def _set(mask: Tensor, token_ids: Sequence[int]) -> None:
    flat = mask.view(torch.uint8)
    for token_id in token_ids:
        flat[token_id // 8] |= 1 << token_id % 8


def _has_any(mask: Tensor, token_ids: Sequence[int]) -> bool:
    ids = torch.tensor(token_ids)
    return bool(((mask[ids // _WORD_BITS] >> ids % _WORD_BITS) & 1).any())
