"""Tensor parallelism: how a decoder is divided among ranks, by the names of its modules.

Applied from outside. A rank's model is the same family with fewer heads and a narrower MLP, and
knows nothing of ranks; a hook behind each attention and MLP adds the ranks' outputs up, one behind
``lm_head`` puts the logits together. What is divided how (Shoeybi et al., 2019):

- ``qkv_proj``, ``gate_up_proj``, ``up_proj``: by output, whole heads to a rank. Where there are
  fewer key-value heads than ranks, several ranks hold the same one.
- ``linear_attn``: its heads, with all that it holds for each of them, like those of attention.
- ``q_proj``, ``q_b_proj``, ``kv_b_proj`` of latent attention: by output, whole heads to a rank.
  ``q_a_proj`` and ``kv_a_proj_with_mqa`` before them are whole, and so are the indexer of a sparse
  attention and the latent cache.
- ``o_proj``, ``out_proj``, ``down_proj``: by input, so that each rank's output is a term of the
  sum. Their bias is rank 0's to add; the others hold zeros.
- ``lm_head``: by vocabulary, in equal pieces but for a shorter last one.
- what attention holds for each of its heads: by head, like the heads. A norm over all heads at
  once (``ProjectionNorm``) takes its mean over the ranks.
- experts of a mixture: each of them by its width, as an MLP; every rank has a part of all.
- everything else, embedding, norms, routers and gates, is whole on every rank: a step reads a few
  rows of the embedding, and to divide it would cost another sum over ranks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unisono.core.errors import ConfigError, UnsupportedModelError
from unisono.hardware.ops.portable import PortableOps
from unisono.hardware.ranks.collectives import Group
from unisono.models.config import ModelConfig, num_kv_pieces
from unisono.models.decoder import Decoder
from unisono.models.layers.linear import Head, Linear
from unisono.models.layers.norm import ProjectionNorm

__all__ = ["Cut", "Plan", "Shard"]

_BY_OUTPUT = (
    *("qkv_proj", "gate_up_proj", "up_proj", "lm_head"),
    *("q_proj", "q_b_proj", "kv_b_proj"),
    *("in_proj", "in_proj_qkvz", "in_proj_ba", "conv1d", "group_norm", "linear_attn"),
)
_BY_INPUT = ("o_proj", "down_proj", "out_proj")
_UNDIVIDED = (
    *("gate", "shared_expert_gate", "proj"),
    *("per_layer_model_projection", "per_layer_input_gate", "per_layer_projection"),
    *("q_a_proj", "kv_a_proj_with_mqa", "wq_b", "wk", "weights_proj"),
)
_KV_PARTS = ("k_proj", "v_proj")
_HEAD_NORMS = ("q_norm", "k_norm")
_SUMMED = ("self_attn", "linear_attn", "mlp", "moe")
"""Modules that end in one of ``_BY_INPUT``. The sum is behind the module and not behind its last
linear layer, so that a hardware may run the module as one op."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """One of ``size`` ranks; ``sharing`` of them live in this device's memory."""

    rank: int
    size: int
    sharing: int = 1


@dataclass(frozen=True, slots=True)
class Cut:
    """A rank's part of a checkpoint tensor: ``length`` from ``start`` of ``whole`` in dimension
    ``dim``. ``zero``: the tensor is there, and this rank holds zeros in its place."""

    dim: int = 0
    start: int = 0
    length: int = 0
    whole: int = 0
    zero: bool = False
    stacked: tuple[int, ...] = ()
    """Rank's lengths of the matrices that make up the tensor, where each is divided by itself."""

    def whole_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The checkpoint's shape, from the shape of a rank's part."""
        if self.zero:
            return shape
        return (*shape[: self.dim], self.whole, *shape[self.dim + 1 :])

    def of(self, tensor: Tensor) -> Tensor:
        """This rank's part: a view, if it lies in one piece."""
        if not self.stacked:
            return tensor.narrow(self.dim, self.start, self.length)
        pieces, piece = self.whole // self.length, self.start // self.length
        wholes = torch.split(tensor, [pieces * length for length in self.stacked], self.dim)
        parts = zip(wholes, self.stacked, strict=True)
        return torch.cat([one.narrow(self.dim, piece * n, n) for one, n in parts], self.dim)


class Plan:
    """How a decoder of ``whole`` is divided, seen from one rank.

    Raises:
        ConfigError: heads, MLP or vocabulary do not divide among so many ranks.
    """

    def __init__(self, whole: ModelConfig, shard: Shard) -> None:
        size = shard.size
        self.config = whole.divided(size)
        """Of this rank's model; its vocabulary is whole."""
        self.rank, self.size = shard.rank, size
        self.num_kv_pieces = num_kv_pieces(whole.num_kv_heads, size)
        self._by_head = _HEAD_NORMS if whole.qk_norm == "projection" else ()
        self.vocab_size = whole.vocab_size
        self.vocab_width = -(-whole.vocab_size // size)
        if (size - 1) * self.vocab_width >= whole.vocab_size:
            raise ConfigError(
                f"A vocabulary of {whole.vocab_size} does not divide among {size} ranks."
            )

    def narrow(self, model: Decoder) -> None:
        """Make a model of ``config``, still without weights, this rank's.

        Raises:
            UnsupportedModelError: it has a linear layer of which the plan knows nothing.
        """
        self._check_complete(model)
        start = self.rank * self.vocab_width
        rows = min(self.vocab_width, self.vocab_size - start)
        head = model.lm_head
        model.lm_head = Head(
            head.ops, head.weight.shape[1], {"lm_head": rows}, bias=head.bias is not None
        )
        # Whole, these contain sums over ranks that no single device can form.
        for module in (model, *model.layers):
            module.fusion_kind = None

    def _check_complete(self, model: Decoder) -> None:
        for name, module in model.named_modules():
            known = (*_BY_OUTPUT, *_BY_INPUT, *_UNDIVIDED)
            if isinstance(module, Linear) and _last(name) not in known:
                raise UnsupportedModelError(
                    f"{type(model).__name__} has a layer {name} that cannot be divided yet.",
                    hint="Use --tp 1.",
                )

    def cut(self, module: str, part: str | None, shape: tuple[int, ...]) -> Cut | None:
        """What this rank takes of a checkpoint tensor; None where it takes all.

        Args:
            module: the name of the module it goes to.
            part: which of the matrices stacked in a linear layer it is.
            shape: of this rank's part.
        """
        name = _last(module)
        if name in _BY_INPUT:
            if len(shape) == 1:
                return None if self.rank == 0 else Cut(zero=True)
            length = shape[1]
            return Cut(1, self.rank * length, length, self.size * length)
        if name == "lm_head":
            return Cut(0, self.rank * self.vocab_width, shape[0], self.vocab_size)
        if name in (*_BY_OUTPUT, *self._by_head, "self_attn"):
            is_of_kv = part in _KV_PARTS or name == "k_norm"
            pieces = self.num_kv_pieces if is_of_kv else self.size
            length, piece = shape[0], self.rank * pieces // self.size
            stacked = self.config.stacked(name)
            return Cut(0, piece * length, length, pieces * length, stacked=stacked)
        return None

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

        for name, module in model.named_modules():
            if _last(name) in _SUMMED:
                module.register_forward_hook(add_up)
            if isinstance(module, ProjectionNorm):
                module.mean_of_ranks = mean
        model.lm_head.register_forward_hook(put_together)


def _last(name: str) -> str:
    return name.rpartition(".")[2]
