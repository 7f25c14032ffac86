"""Words for why a constraint is refused; none of them repeats what was sent."""

from __future__ import annotations

import re

from unisono.core.constraint import ConstraintKind
from unisono.core.errors import InvalidRequestError

_TOO_MUCH = re.compile(r"too (large|complex|many|big)|limit|fuel|exceeded|Unable to determine")
_UNSATISFIABLE = re.compile(r"[Uu]nsatisfiable|NoExtension")
_CIRCULAR = re.compile(r"circular references")


def refusal(kind: ConstraintKind, reason: str) -> InvalidRequestError:
    """The error for what llguidance says of a constraint."""
    return InvalidRequestError(f"{kind} {_says(kind, reason)}", param=kind)


def _says(kind: ConstraintKind, reason: str) -> str:
    first = reason.split("\n", 1)[0]
    if _UNSATISFIABLE.search(reason):
        return "contradicts itself: nothing satisfies it."
    if _TOO_MUCH.search(first):
        return "takes more time or memory than a constraint may."
    if _CIRCULAR.search(first):
        return "cannot be enforced: $ref leads in a circle with other keywords beside it."
    if "oneOf" in first:
        return "cannot be enforced: the branches of a oneOf may overlap."
    if "min/maxProperties" in first:
        return "cannot be enforced: minProperties or maxProperties beside optional properties."
    if "patternProperty" in first:
        return "cannot be enforced: patternProperties that may overlap."
    if "lookaround" in first:
        return "cannot be enforced: a pattern with lookaround or word boundaries."
    return "cannot be enforced: it is wrong, or beyond what is supported."
