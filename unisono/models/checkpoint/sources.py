"""Finds the tensors that a plan needs in a checkpoint's files: names are checked before reading."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from unisono.models.checkpoint.checkpoint import Checkpoint
from unisono.models.checkpoint.names import CheckpointNames, StoredPart
from unisono.models.checkpoint.plan import WeightPlan
from unisono.models.checkpoint.refusals import check_complete, refuse_unexpected
from unisono.models.checkpoint.slots import HEAD, is_ignorable, names_in

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sources:
    """The tensors that a model is made of."""

    names: CheckpointNames
    """Names in these files of what the model has."""
    parts: dict[Path, list[StoredPart]]
    """By file, in the order in which they are read."""
    spare_head: tuple[Path, StoredPart] | None
    """A head that is stored beside the embedding which is to serve as the head."""


def find_sources(checkpoint: Checkpoint, plan: WeightPlan) -> Sources:
    """Find what ``plan`` needs.

    Raises:
        CheckpointError: a tensor is missing, unexpected, or there twice; a file is truncated.
    """
    stored = plan.stored
    names = names_in(
        plan.model, (name for path in checkpoint.files for name in checkpoint.names(path))
    )
    parts: dict[Path, list[StoredPart]] = {path: [] for path in checkpoint.files}
    spare_head: tuple[Path, StoredPart] | None = None
    found: set[str] = set()
    beside: list[str] = []
    for path, own in parts.items():
        for part in (part for name in checkpoint.names(path) for part in names.parts(name)):
            name = part.name
            ignorable = is_ignorable(plan.model, name) or (stored and stored.is_ignorable(name))
            if ignorable and name == HEAD and plan.model.has_head:
                spare_head = path, part
            if plan.owner(name) in plan.weights and name not in found:
                found.add(name)
                own.append(part)
            elif ignorable:
                continue
            elif names.is_beside(part.stored):
                beside.append(part.stored)
            else:
                refuse_unexpected(part.stored, path, already=name in plan.weights)
    check_complete(plan.weights.keys() - set(map(plan.owner, found)), names)
    if beside:
        _log.warning("Not used: %s and %d other tensors.", beside[0], len(beside) - 1)
    return Sources(names, parts, spare_head)
