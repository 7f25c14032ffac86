"""All chips of the ledger, and which one a name means."""

from __future__ import annotations

import re
from difflib import get_close_matches
from functools import lru_cache
from importlib.resources import files

from unisono.core.errors import SpecError
from unisono.hardware.specs.figures import ChipSpec
from unisono.hardware.specs.parsing import parse_spec


def load_specs() -> dict[str, ChipSpec]:
    """Every chip by its id, in the order of the ids.

    Raises:
        SpecError: a file of the ledger is wrong.
    """
    return dict(_all_specs())


def find_spec(name: str) -> ChipSpec:
    """The chip of that id or alias; case, spaces, dashes and underscores do not matter.

    Raises:
        SpecError: the ledger has no such chip; the hint names near ones.
    """
    by_name = _by_name()
    wanted = _key(name)
    if wanted in by_name:
        return by_name[wanted]
    near = _near(wanted, by_name)
    suggestion = f"Near: {', '.join(near)}. " if near else ""
    raise SpecError(
        f"{name!r} is not a chip of the spec ledger.",
        hint=f"{suggestion}`unisono specs` lists them all.",
    )


@lru_cache(maxsize=1)
def _all_specs() -> dict[str, ChipSpec]:
    folder = files("unisono.hardware.specs")
    found = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".toml"))
    specs = [parse_spec((folder / name).read_text("utf-8"), name) for name in found]
    return {spec.id: spec for spec in specs}


@lru_cache(maxsize=1)
def _by_name() -> dict[str, ChipSpec]:
    names: dict[str, ChipSpec] = {}
    for spec in _all_specs().values():
        for name in (spec.id, *spec.aliases):
            other = names.setdefault(_key(name), spec)
            if other is not spec:
                raise SpecError(f"{spec.id}.toml, aliases: {name!r} is a name of {other.id} too.")
    return names


def _key(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name.lower())


def _near(wanted: str, by_name: dict[str, ChipSpec]) -> list[str]:
    """Ids of chips with a similar name, the most similar first."""
    matches = get_close_matches(wanted, by_name, n=6, cutoff=0.5)
    return list(dict.fromkeys(by_name[name].id for name in matches))[:4]
