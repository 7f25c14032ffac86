"""Completes words for the shell when Tab is pressed. Imports no torch, opens no connection."""

from __future__ import annotations

from collections.abc import Callable, Iterable

Completer = Callable[[str], list[str]]


def one_of(*words: str) -> Completer:
    """Offers fixed words."""

    def complete(incomplete: str) -> list[str]:
        return _beginning(words, incomplete)

    return complete


def devices(incomplete: str) -> list[str]:
    """Names of all hardware that is known, here or not."""
    from importlib.metadata import entry_points

    names = sorted(entry_points(group="unisono.hardware").names)
    return _beginning(("auto", *names), incomplete)


def models(incomplete: str) -> list[str]:
    """Models in the hub's cache; the shell itself offers folders and files where none fits."""
    from unisono.hub.huggingface_cache import cached_models

    return _beginning(cached_models(), incomplete)


def chips(incomplete: str) -> list[str]:
    """Chips of the spec ledger."""
    from unisono.hardware.specs.ledger import load_specs

    return _beginning(load_specs(), incomplete)


def checks(incomplete: str) -> list[str]:
    """Groups of the conformance kit, and its checks."""
    from unisono.conformance.registry import GROUPS, check_names

    return _beginning((*GROUPS, *check_names()), incomplete)


def _beginning(words: Iterable[str], incomplete: str) -> list[str]:
    return [word for word in words if word.startswith(incomplete)]
