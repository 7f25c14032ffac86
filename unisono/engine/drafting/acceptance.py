"""The chance that a guess comes true, learned from those before it in the same answer.

Guesses come true in runs: who has copied eight tokens copies the ninth. So chances are kept by how
many came true in a row. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

_PRIOR = (0.3, 0.5, 0.65, 0.8, 0.9, 0.9)
"""By the number of binary digits of the run."""
_PRIOR_WEIGHT = 2.0
_KEPT = 0.96
"""Share of what was seen before that counts beside a new guess."""


class Acceptance:
    """Counts of the guesses for one answer that came true, and of all."""

    def __init__(self) -> None:
        self._true = [chance * _PRIOR_WEIGHT for chance in _PRIOR]
        self._all = [_PRIOR_WEIGHT for _ in _PRIOR]
        self._run = 0

    def learn(self, guessed: Sequence[int], came: Sequence[int]) -> None:
        """Compare, up to the first that did not come true: what follows it is of another text."""
        for guess, token_id in zip(guessed, came, strict=False):
            at = _bucket(self._run)
            is_true = guess == token_id
            self._true[at] = self._true[at] * _KEPT + is_true
            self._all[at] = self._all[at] * _KEPT + 1
            self._run = self._run + 1 if is_true else 0
            if not is_true:
                return

    def chances(self) -> Iterator[float]:
        """For each further guess, the chance that it and all before it come true."""
        chance, run = 1.0, self._run
        while True:
            at = _bucket(run)
            chance *= self._true[at] / self._all[at]
            yield chance
            run += 1


def _bucket(run: int) -> int:
    return min(run.bit_length(), len(_PRIOR) - 1)
