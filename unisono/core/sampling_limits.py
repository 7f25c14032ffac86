"""Limits of the sampling parameters: written here once, for all who check or describe them.

Knows names and numbers; nothing of requests.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from unisono.core.errors import InvalidRequestError

MAX_ALLOWED_TOKENS = 16384
MAX_LOGIT_BIAS = 1024
MAX_LOGPROBS = 100
MAX_STOPS = 64
"""Entries of ``stop``, and of ``stop_token_ids``."""
MAX_STOP_LENGTH = 1024
"""Characters of a stop text."""
MAX_CONSTRAINT_LENGTH = 1 << 20
"""Characters of a schema, a regular expression or a grammar."""
MAX_CHOICES = 4096
_MAX_COUNT = (1 << 31) - 1


@dataclass(frozen=True, slots=True)
class Limit:
    """Numbers from ``low`` to ``high``, both included, unless ``low_open``."""

    low: int
    high: int
    whole: bool = False
    """Integers only."""
    low_open: bool = False
    optional: bool = False
    """None is taken too: it leaves the parameter open."""

    def check(self, name: str, value: Any) -> None:
        """Raises InvalidRequestError: not such a number."""
        if value is None and self.optional:
            return
        kinds, kind = (int, "an integer") if self.whole else ((int, float), "a number")
        if isinstance(value, bool) or not isinstance(value, kinds):
            raise InvalidRequestError(f"{name} must be {kind}, not {value!r:.40}.", param=name)
        if not self.low <= value <= self.high or (self.low_open and value == self.low):
            above = "above " if self.low_open else ""
            raise InvalidRequestError(
                f"{name} must be {above}{self.low} to {self.high}, not {value!r:.40}.", param=name
            )


TOKEN_ID = Limit(0, _MAX_COUNT, whole=True)
BIAS = Limit(-100, 100)
_LOGPROBS = Limit(0, MAX_LOGPROBS, whole=True, optional=True)
LIMITS = {
    "max_tokens": Limit(0, _MAX_COUNT, whole=True, optional=True),
    "min_tokens": Limit(0, _MAX_COUNT, whole=True),
    "temperature": Limit(0, 100, optional=True),
    "top_k": Limit(0, _MAX_COUNT, whole=True, optional=True),
    "top_p": Limit(0, 1, low_open=True, optional=True),
    "min_p": Limit(0, 1, optional=True),
    "repetition_penalty": Limit(0, 100, low_open=True, optional=True),
    "presence_penalty": Limit(-2, 2),
    "frequency_penalty": Limit(-2, 2),
    "n": Limit(1, 128, whole=True),
    "seed": Limit(-(1 << 63), (1 << 63) - 1, whole=True, optional=True),
    "logprobs": _LOGPROBS,
    "prompt_logprobs": _LOGPROBS,
    "thinking_token_budget": Limit(0, _MAX_COUNT, whole=True, optional=True),
}
"""Limits of the parameters that are a number."""


def check_limits(record: Any) -> None:
    """Checks the fields of a dataclass that have a limit.

    Raises:
        InvalidRequestError: a value out of range, named by ``param``.
    """
    for each in fields(record):
        if each.name in LIMITS:
            LIMITS[each.name].check(each.name, getattr(record, each.name))
