"""Checks constraints before they reach an engine, in a process with limits of time and memory.

A schema or a regular expression of a few hundred bytes may ask for hours and gigabytes. Whatever
passes here is compiled again beside the engine, by the same program, in about the same time.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import asdict
from pathlib import Path
from threading import Lock

from unisono.core.constraint import Constraint
from unisono.core.errors import InvalidRequestError
from unisono.text.grammar.vocabulary import Vocabulary
from unisono.text.limited.process import LimitBrokenError, Limits
from unisono.text.limited.program import LimitedProgram

_PROGRAM = Path(__file__).with_name("checking_program.py")
_LIMITS = Limits(max_cpu_s=1.0, max_memory_bytes=1 << 30)
_MAX_KEPT = 1024


class ConstraintChecker:
    """Safe to use from several threads. The processes end with this object."""

    def __init__(self, vocabulary: Vocabulary, limits: Limits = _LIMITS) -> None:
        reduced = vocabulary.reduced()
        names = {i: reduced.tokens[i].decode("utf-8", "replace") for i in reduced.special_ids}
        self._program = LimitedProgram(
            "constraints",
            _PROGRAM,
            {"size": len(vocabulary.tokens), "special": names},
            limits=limits,
            imports=("unisono", "llguidance"),
        )
        self._passed: OrderedDict[Constraint, None] = OrderedDict()
        self._lock = Lock()

    def check(self, constraint: Constraint) -> None:
        """Raises:
        InvalidRequestError: the constraint cannot be enforced, or takes too much.
        HelperFailedError: the process that compiles it was killed or stopped: try again.
        """
        with self._lock:
            if constraint in self._passed:
                self._passed.move_to_end(constraint)
                return
        try:
            reply = json.loads(self._program.ask(json.dumps(asdict(constraint)).encode()))
        except LimitBrokenError as error:
            kind = constraint.kind
            raise InvalidRequestError(
                f"{kind} takes more time or memory than a constraint may.", param=kind
            ) from error
        if reply:
            raise InvalidRequestError(reply["message"], param=reply["param"], hint=reply["hint"])
        with self._lock:
            self._passed[constraint] = None
            if len(self._passed) > _MAX_KEPT:
                self._passed.popitem(last=False)
