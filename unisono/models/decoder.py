"""The decoder that the dense families share.

Knows no checkpoint format and no device: ``checkpoint/filling.py`` brings the weights, the
hardware's ops the arithmetic. A family overrides what differs.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn

from unisono.core.cache import CacheTensor, LayerCache
from unisono.hardware.ops.portable import PortableOps
from unisono.hardware.ops.standard import StandardDecoder
from unisono.models.checkpoint.names import CheckpointNames, Renamed
from unisono.models.checkpoint.splits import FusedExperts, Split
from unisono.models.config import ModelConfig
from unisono.models.layers.attention import Attention
from unisono.models.layers.described import standard_of
from unisono.models.layers.linear import Embedding, Head, Linear, ScaledEmbedding
from unisono.models.layers.mlp import MLP
from unisono.models.layers.moe import MoE
from unisono.models.layers.norm import make_norm
from unisono.models.layers.residual import DecoderLayer
from unisono.models.layers.rope import Angles, ropes_by_layer
from unisono.models.raw_config import RawConfig
from unisono.models.step import StepContext


class Decoder(nn.Module):
    """Token ids in, hidden states or logits out. Subclasses are the families."""

    ignored_weights: ClassVar[tuple[str, ...]] = (
        *("rotary_emb.inv_freq", "rotary_emb.cos_cached", "rotary_emb.sin_cached"),
        *("attn.bias", "attn.masked_bias", "attention.bias", "attention.masked_bias"),
        "position_ids",
    )
    """Ends of checkpoint names that carry nothing a model needs."""
    renamed: ClassVar[Renamed] = ()
    ignored: ClassVar[Sequence[str]] = ()
    """Fields of ``CheckpointNames`` for this family's checkpoints."""
    layer_class: ClassVar[type[nn.Module]] = DecoderLayer
    attention_class: ClassVar[type[nn.Module]] = Attention
    mlp_class: ClassVar[type[nn.Module]] = MLP
    """The MLP of layers without experts."""

    def __init__(self, config: ModelConfig, ops: PortableOps, device: torch.device) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = self.make_embedding(ops, config)
        self.layers = nn.ModuleList(
            self.make_layer(ops, config, layer) for layer in range(config.num_layers)
        )
        self.norm = make_norm(ops, config, config.hidden_size)
        self.lm_head: Any = Head(ops, config.hidden_size, config.vocab_size)
        self.score: Linear | None = None
        """The head that classifies; ``models/heads.py`` gives it to those that have one."""
        self.layer_ropes = ropes_by_layer(config.ropes, device)

    @classmethod
    @abstractmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        """The family's reading of ``config.json``."""

    def checkpoint_names(self) -> CheckpointNames:
        """Names in this family's checkpoints of what it has. Layers behind the last predict further
        tokens; they are not loaded."""
        last = self.config.num_layers
        drafts = range(last, last + self.config.num_draft_layers)
        return CheckpointNames(
            renamed=self.renamed,
            ignored=(*self.ignored, *(f"model.layers.{layer}." for layer in drafts)),
            splits=self.stored_splits(),
        )

    def stored_splits(self) -> Sequence[Split]:
        """Tensors of this family's checkpoints that hold several weights."""
        experts = self.config.experts
        return () if experts is None else (FusedExperts(experts.num_experts),)

    def make_embedding(self, ops: PortableOps, config: ModelConfig) -> Embedding:
        if config.embedding_scale == 1.0:
            return Embedding(ops, config.vocab_size, config.hidden_size)
        return ScaledEmbedding(ops, config.vocab_size, config.hidden_size, config.embedding_scale)

    def make_layer(self, ops: PortableOps, config: ModelConfig, layer: int) -> nn.Module:
        """Called (x [T, H], residual, rope, step) -> (branch [T, H], residual); the next norm adds
        the two (``layers/residual.py``)."""
        attention = self.make_attention(ops, config, layer)
        return self.layer_class(ops, config, attention, self.make_mlp(ops, config, layer))

    def make_attention(self, ops: PortableOps, config: ModelConfig, layer: int) -> nn.Module:
        """Called (x [T, H], rope, step) -> [T, H]."""
        return self.attention_class(ops, config, layer)

    def make_mlp(self, ops: PortableOps, config: ModelConfig, layer: int) -> nn.Module:
        """Called (x [T, H]) -> [T, H]."""
        if config.experts is not None and layer in config.experts.layers:
            return MoE(ops, config)
        return self.mlp_class(ops, config)

    @final
    def standard(self) -> StandardDecoder | None:
        """The record of what ``forward`` computes; None where one of its parts has none."""
        embedding, norm = self.embed_tokens.standard(), self.norm.standard()
        layers = tuple(map(standard_of, self.layers))
        rope = self.layer_ropes[0]
        if embedding is None or norm is None or None in layers:
            return None
        if rope is None or any(other is not rope for other in self.layer_ropes):
            return None
        return StandardDecoder(
            embedding=embedding, layers=layers, norm=norm, rotation=rope.record()
        )

    @final  # type: ignore[misc]  # torch declares forward as an attribute
    def forward(self, token_ids: Tensor, step: StepContext) -> Tensor:
        """token_ids int64 [T] -> hidden states [T, H], normed. What differs between families is in
        the parts, which say for themselves whether they are standard."""
        x, residual = self.embed_tokens(token_ids), None
        self.prepare_step(token_ids, x, step)
        for layer, rope in zip(self.layers, self.angles(step), strict=True):
            x, residual = layer(x, residual, rope, step)
        return self.norm.add(x, residual)[0]

    def prepare_step(self, token_ids: Tensor, x: Tensor, step: StepContext) -> None:
        """Leave in ``step.shared`` what a family's own layers need besides ``x`` [T, H]."""

    @final
    def angles(self, step: StepContext) -> list[Angles | None]:
        """Rotation of the step's tokens in each layer."""
        positions, lengths = step.positions, step.rope_lengths
        distinct = {id(rope): rope(positions, lengths) for rope in self.layer_ropes if rope}
        return [distinct[id(rope)] if rope else None for rope in self.layer_ropes]

    def rope_length(self, num_prompt: int, num_tokens: int) -> int:
        """The length for which a sequence is rotated; see ``Rope.length``."""
        return max(
            (rope.length(num_prompt, num_tokens) for rope in self.layer_ropes if rope), default=0
        )

    def logits(self, hidden: Tensor) -> Tensor:
        """hidden [N, H] -> float32 [N, V]."""
        logits: Tensor = self.lm_head(hidden)
        if self.config.logit_scale != 1.0:
            logits = logits * self.config.logit_scale
        cap = self.config.logit_softcap
        return logits if cap is None else cap * torch.tanh(logits / cap)

    @property
    def has_head(self) -> bool:
        """True where tokens are predicted."""
        return isinstance(self.lm_head, Head)

    @property
    def num_classes(self) -> int:
        return 0 if self.score is None else self.score.shape[0]

    def scores(self, hidden: Tensor) -> Tensor:
        """hidden [N, H] -> float32 [N, C], one number a class."""
        assert self.score is not None
        scores: Tensor = self.score(hidden)
        return scores.float()

    def attention_flops(self, layer: int, length: int) -> int:
        """Operations between the tokens of a prompt in one layer: four for each query and key that
        see one another, in each dimension of a head."""
        pairs = num_pairs(length, self.config.windows[layer])
        return 4 * pairs * self.config.num_heads * self.config.head_dim

    def layer_caches(self, dtype: torch.dtype) -> list[LayerCache]:
        """The cache of each layer."""
        heads = self.config.num_kv_heads, self.config.head_dim
        return [kv_cache(heads, dtype, window) for window in self.config.windows]


def kv_cache(heads: tuple[int, int], dtype: torch.dtype, window: int | None) -> LayerCache:
    """The cache of a layer's keys and values.

    Args:
        heads: number of key-value heads, and numbers in each.
        window: tokens that a query sees; None: all.
    """
    kv = CacheTensor(planes=2, shape=heads, dtype=str(dtype).removeprefix("torch."))
    return LayerCache(kind="full" if window is None else "window", tensors=(kv,), window=window)


def num_pairs(length: int, most: int | None) -> int:
    """Number of pairs of a query and a key that it sees, in a prompt of ``length`` tokens, where a
    query sees ``most`` keys; None: all before it."""
    seen = min(length, most or length)
    return seen * (seen + 1) // 2 + (length - seen) * seen
