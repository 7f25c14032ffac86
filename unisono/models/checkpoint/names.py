"""From the names of a checkpoint's tensors to ours: what a family's files call and keep otherwise.

Knows no file and no device.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from unisono.models.checkpoint.splits import Split, View

Renamed = Sequence[tuple[str, str]]
"""Stored and our part of a name, one rule after the other; ``^`` is where a name begins."""

_EMBEDDING = "embed_tokens"
_OTHER_HEADS = re.compile(
    r"(?!lm_head\.)(\w*head\w*|score\w*|classifi\w*|qa_outputs|pooler|summary|mtp\w*|eagle\w*|"
    r"reward\w*|value\w*|critic\w*|regress\w*)\."
)
"""Modules beside ``model``: what classifies, scores or predicts further tokens."""


def _whole(tensor: Tensor) -> Tensor:
    return tensor


@dataclass(frozen=True, slots=True)
class StoredPart:
    """A tensor that the model knows as ``name``: what ``view`` shows of the one ``stored``."""

    name: str
    stored: str
    view: View = _whole

    @property
    def is_whole(self) -> bool:
        """True where it is all of the tensor."""
        return self.view is _whole

    @property
    def label(self) -> str:
        """Name for messages."""
        return self.stored if self.is_whole else f"{self.stored} ({self.name})"


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointNames:
    """Names of a family's checkpoints where they differ from ours, transformers' usual ones."""

    renamed: Renamed = ()
    ignored: Sequence[str] = ()
    """Beginnings of stored names, of what this model does not need."""
    splits: Sequence[Split] = ()
    root: str = ""
    """The prefix of every name of the model in this checkpoint, such as ``base_model.model.``."""
    base_modules: frozenset[str] = frozenset()
    """Modules whose names lack ``model.`` here, because the checkpoint is of a model without a
    head."""

    def found_in(self, stored: Iterable[str], modules: Collection[str]) -> CheckpointNames:
        """The same for files with the names ``stored``, whatever is or is not in front of the names
        of a model with these ``modules``; the embedding's shows it."""
        for name in stored:
            parts = name.split(".")
            for start in range(len(parts) if _EMBEDDING in parts else 0):
                root, inner = "".join(f"{part}." for part in parts[:start]), ".".join(parts[start:])
                if self.ours(inner).startswith(f"model.{_EMBEDDING}."):
                    return replace(self, root=root)
                if self.ours(f"model.{inner}").startswith(f"model.{_EMBEDDING}."):
                    return replace(self, root=root, base_modules=frozenset(modules))
        return self

    def is_beside(self, stored: str) -> bool:
        """True where a name is of what stands beside the language model: another head, or what is
        outside its root."""
        return (
            not stored.startswith(self.root) or _OTHER_HEADS.match(self._usual(stored)) is not None
        )

    def parts(self, stored: str) -> list[StoredPart]:
        """The parts that a stored tensor holds; none where it is ignored."""
        usual = self._usual(stored)
        if usual.startswith(tuple(self.ignored)):
            return []
        name = self.ours(usual)
        for split in self.splits:
            if views := split(name):
                return [StoredPart(name, stored, view) for name, view in views.items()]
        return [StoredPart(name, stored)]

    def _usual(self, stored: str) -> str:
        """The name as checkpoints of this family usually have it."""
        name = stored.removeprefix(self.root)
        if self.base_modules:
            module = self.ours(f"model.{name}").removeprefix("model.").partition(".")[0]
            name = f"model.{name}" if module in self.base_modules else name
        return name

    def ours(self, stored: str) -> str:
        """The usual name after ``renamed``."""
        for old, new in self.renamed:
            stored = _replaced(stored, old, new)
        return stored

    def stored(self, name: str) -> str:
        """The name in such checkpoints of one of our names; by one of the prefixes, where there are
        several."""
        begun = False
        for old, new in reversed(self.renamed):
            if not old.startswith("^"):
                name = _replaced(name, new, old)
            elif not begun:
                begun = name.startswith(new)
                name = _replaced(name, f"^{new}", old[1:])
        return self.root + (name.removeprefix("model.") if self.base_modules else name)


def _replaced(name: str, old: str, new: str) -> str:
    if not old.startswith("^"):
        return name.replace(old, new) if old else name
    start = old[1:]
    return new + name[len(start) :] if name.startswith(start) else name


TEXT_OF_MULTIMODAL = CheckpointNames(
    renamed=(
        ("^language_model.lm_head.", "lm_head."),
        ("^language_model.model.", "model."),
        ("^model.language_model.", "model."),
    ),
    ignored=tuple(
        f"{prefix}{part}."
        for prefix in ("", "model.")
        for part in (
            *("vision_tower", "vision_model", "visual", "audio_tower"),
            *("multi_modal_projector", "embed_vision", "embed_audio"),
        )
    ),
)
"""The language model of a checkpoint that has a vision tower before it: as published, and as
transformers writes it."""
