"""The checks by name: ``group.check``, what each is for, and the function that makes it.

The order of this list is the order of a run. Modules of ``checks`` register themselves when they
are imported; ``all_checks`` imports them.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from unisono.core.errors import ConfigError

if TYPE_CHECKING:
    from unisono.conformance.context import Context

GROUPS = {
    "runtime": "memory, streams, copies, modules, random numbers, arithmetic",
    "ops": "every op of the table, over dtypes, shapes and extreme values",
    "model": "a small model: logits, tokens, batches, cache, graphs",
    "training": "a training step: loss, gradients, optimizer",
    "collectives": "two processes",
    "soak": "an engine under load",
    "measure": "measured figures; nothing is judged",
}
_MODULES = (
    "runtime.identity",
    "runtime.memory",
    "runtime.streams",
    "runtime.copies",
    "runtime.modules",
    "runtime.random",
    "runtime.arithmetic",
    "ops.table",
    "ops.functions",
    "ops.rows",
    "ops.matmul",
    "ops.linear",
    "ops.activations",
    "ops.elementwise",
    "ops.experts",
    "ops.attention",
    "ops.latent",
    "ops.attention_quantized",
    "ops.attention_memory",
    "ops.recurrent",
    "ops.choosing",
    "model",
    "training_ops",
    "training",
    "collectives",
    "soak",
    "measure",
)
_DECORATED = re.compile(r'^@check\(\s*"([\w.]+)"', re.MULTILINE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """``optional``: a device that says that it lacks this is not at fault. ``covers``: ops of
    the table that it tests. ``seconds``: more time than usual, where it needs it."""

    name: str
    purpose: str
    run: Callable[[Context], None]
    optional: bool = False
    covers: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def group(self) -> str:
        return self.name.partition(".")[0]


_checks: dict[str, Check] = {}


def check(
    name: str,
    purpose: str,
    *,
    optional: bool = False,
    covers: tuple[str, ...] = (),
    seconds: float = 0.0,
) -> Callable[[Callable[[Context], None]], Callable[[Context], None]]:
    """Register a function as the check ``name``."""

    def register(function: Callable[[Context], None]) -> Callable[[Context], None]:
        assert name.partition(".")[0] in GROUPS, name
        assert name not in _checks, name
        _checks[name] = Check(
            name=name,
            purpose=purpose,
            run=function,
            optional=optional,
            covers=covers,
            seconds=seconds,
        )
        return function

    return register


def all_checks() -> list[Check]:
    """Every check, in the order of a run."""
    for module in _MODULES:
        importlib.import_module(f"unisono.conformance.checks.{module}")
    order = list(GROUPS)
    return sorted(_checks.values(), key=lambda one: order.index(one.group))


def check_names() -> list[str]:
    """Names of all checks, read from their source: no check is imported, and so no torch."""
    folder = Path(__file__).with_name("checks")
    sources = [path.read_text("utf-8") for path in sorted(folder.rglob("*.py"))]
    return [name for source in sources for name in _DECORATED.findall(source)]


def covered_ops() -> set[str]:
    """Ops of the table that some check tests."""
    return {op for one in all_checks() for op in one.covers}


def select(only: Sequence[str]) -> list[Check]:
    """The checks that ``GROUP`` or ``GROUP.CHECK`` name; all where nothing is named.

    Raises:
        ConfigError: a name that is neither.
    """
    checks = all_checks()
    for name in only:
        if not any(name in (one.name, one.group) for one in checks):
            raise ConfigError(
                f"{name!r} is neither a group nor a check.", hint="`unisono check --list` has all."
            )
    return [one for one in checks if not only or one.name in only or one.group in only]
