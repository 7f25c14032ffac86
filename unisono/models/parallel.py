"""Tensor parallelism: a decoder divided among ranks, as its layers say that they divide
(``layers/split.py``; Shoeybi et al., 2019).

Applied from outside. A rank's model is the same family with fewer heads and a narrower MLP, and
knows nothing of ranks; a hook behind each layer that gives a term adds the ranks' outputs up, one
behind the head puts the logits together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from unisono.core.errors import ConfigError
from unisono.hardware.ops.portable import PortableOps
from unisono.hardware.ranks.collectives import Group
from unisono.models.config import ModelConfig
from unisono.models.cut import Cut
from unisono.models.decoder import Decoder
from unisono.models.dividing import divided, num_kv_pieces
from unisono.models.layers.split import (
    averaging,
    of_vocabulary,
    split_of,
    stacked_in,
    terms_of,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """One of ``size`` ranks; ``sharing`` of them live in this device's memory."""

    rank: int
    size: int
    sharing: int = 1


class Division:
    """The division of a decoder of ``whole``, seen from one rank.

    Raises:
        ConfigError: heads, MLP or vocabulary do not divide among so many ranks.
    """

    def __init__(self, whole: ModelConfig, shard: Shard) -> None:
        size = shard.size
        self.config = divided(whole, size)
        """Configuration of this rank's model; its vocabulary is whole."""
        self.rank, self.size = shard.rank, size
        self.num_kv_pieces = num_kv_pieces(whole.num_kv_heads, size)
        self.vocab_size = whole.vocab_size
        self.vocab_width = -(-whole.vocab_size // size)
        if (size - 1) * self.vocab_width >= whole.vocab_size:
            raise ConfigError(
                f"A vocabulary of {whole.vocab_size} does not divide among {size} ranks."
            )

    def narrow(self, model: Decoder) -> None:
        """Make a model of ``config``, still without weights, this rank's."""
        start = self.rank * self.vocab_width
        for layer in of_vocabulary(model):
            layer.narrow(min(self.vocab_width, self.vocab_size - start))

    def cut(self, module: nn.Module, name: str, shape: tuple[int, ...]) -> Cut | None:
        """This rank's part of a checkpoint tensor; None where it takes all.

        Args:
            module: the layer that the tensor goes to.
            name: of the parameter, or of the part of a linear layer.
            shape: of this rank's part.
        """
        split = split_of(module, name)
        if split is None:
            return None
        if split == "vocabulary":
            return Cut(0, self.rank * self.vocab_width, shape[0], self.vocab_size)
        if split == "in" and len(shape) == 1:
            return None if self.rank == 0 else Cut(zero=True)
        pieces = self.num_kv_pieces if split == "kv" else self.size
        dim = 1 if split == "in" else 0
        length, piece = shape[dim], self.rank * pieces // self.size
        return Cut(dim, piece * length, length, pieces * length, stacked=stacked_in(module))

    def connect(self, model: Decoder, ops: PortableOps, group: Group) -> None:
        """Let the ranks' models, their weights in place, work as one."""

        def add_up(module: nn.Module, args: Any, output: Tensor) -> Tensor:
            return ops.all_reduce(output, group)

        def put_together(module: nn.Module, args: Any, output: Tensor) -> Tensor:
            missing = self.vocab_width - output.shape[-1]
            output = F.pad(output, (0, missing)) if missing else output
            whole = ops.all_gather(output, group, dim=-1)
            return whole[..., : self.vocab_size].contiguous()

        def mean(x: Tensor) -> Tensor:
            return ops.all_reduce(x, group) / self.size

        for term in terms_of(model):
            term.register_forward_hook(add_up)
        for layer in of_vocabulary(model):
            layer.register_forward_hook(put_together)
        for layer in averaging(model):
            layer.mean_of_ranks = mean
