"""Modules that say what they compute, so that a hardware can run them as one op."""

from __future__ import annotations

from typing import Any

from torch import nn


class Described(nn.Module):
    """A module that may have a record of what it computes (``hardware/ops/standard.py``).

    A subclass may compute something else: it has no record unless it defines ``standard`` itself.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "standard" not in vars(cls):
            cls.standard = Described.standard  # type: ignore[method-assign]

    def standard(self) -> Any:
        """The record of what ``forward`` computes, its weights in place; None: there is none."""
        return None


def standard_of(module: nn.Module) -> Any:
    """The record of a module; None: it has none."""
    return module.standard() if isinstance(module, Described) else None
