"""The heads of models that do not generate text: none at all, or one that classifies.

Knows architectures by the ends of their names, as transformers writes them; nothing of pooling.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from torch import nn

from unisono.core.errors import CheckpointError
from unisono.hardware.ops.portable import PortableOps
from unisono.models.config import Config
from unisono.models.decoder import Decoder
from unisono.models.layers.linear import Linear
from unisono.models.raw_config import RawConfig

HeadKind = Literal["tokens", "classes", "none"]
CLASSIFIES = "ForSequenceClassification"
_MAX_CLASSES = 1 << 16


class NoHead(nn.Module):
    """In the place of a head that is not needed: it holds nothing."""

    weight = None
    is_prepared = True

    def __init__(self, ops: PortableOps, hidden_size: int) -> None:
        super().__init__()
        self.ops = ops
        self.shape = (0, hidden_size)


def head_of(task: str, raw: RawConfig) -> HeadKind:
    """The head that a model needs for a task of ``EngineConfig``."""
    if task == "embed":
        return "none"
    names = raw.list_of("architectures", str)
    if task == "rerank" and any(name.endswith(CLASSIFIES) for name in names):
        return "classes"
    return "tokens"


def without_tie(config: Config, head: HeadKind) -> Config:
    """The configuration, whose embedding is no head where none predicts tokens."""
    return config if head == "tokens" else replace(config, tie_embeddings=False)


def give_head(model: Decoder, head: HeadKind, raw: RawConfig) -> None:
    """Replace the head that predicts tokens, before there are weights.

    Raises:
        CheckpointError: the configuration's classes cannot be counted.
    """
    if head == "tokens":
        return
    ops, size = model.lm_head.ops, model.config.hidden_size
    model.lm_head = NoHead(ops, size)
    if head == "classes":
        parts = {"score": _num_classes(raw)}
        model.score = Linear(ops, size, parts, split=None, quantizable=False)


def _num_classes(raw: RawConfig) -> int:
    labels = raw.mapping("id2label")
    count = len(labels) if labels else raw.get("num_labels", 2)
    if type(count) is not int or not 1 <= count <= _MAX_CLASSES:
        raise CheckpointError(f"{raw.source} states {count!r:.40} classes.")
    return count
