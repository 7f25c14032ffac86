"""Latent attention to a few tokens, which a small index of all tokens chooses."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unisono.hardware.ops.portable import PortableOps
from unisono.models.config import IndexShape, ModelConfig
from unisono.models.layers.latent_attention import LatentAttention
from unisono.models.layers.linear import Linear
from unisono.models.layers.norm import LayerNorm
from unisono.models.layers.rope import Angles, in_halves
from unisono.models.step import StepContext

_KEY_NORM_EPS = 1e-6
_SELECTED = "selected tokens"


class Indexer(nn.Module):
    """Queries of several heads over one key of each token (DeepSeek-AI, 2025, DeepSeek-V3.2,
    section 2.1). Whole on every rank: it chooses for all heads at once."""

    def __init__(
        self, ops: PortableOps, config: ModelConfig, shape: IndexShape, query_rank: int
    ) -> None:
        super().__init__()
        self.ops, self.shape = ops, shape
        self.wq_b = Linear(ops, query_rank, {"wq_b": shape.num_heads * shape.head_dim}, split=None)
        self.wk = Linear(ops, config.hidden_size, {"wk": shape.head_dim}, split=None)
        self.k_norm = LayerNorm(ops, shape.head_dim, _KEY_NORM_EPS, bias=True)
        weights = {"weights_proj": shape.num_heads}
        self.weights_proj = Linear(
            ops, config.hidden_size, weights, split=None, quantizable=False, float32=True
        )

    def query_and_key(self, x: Tensor, source: Tensor, rope: Angles) -> tuple[Tensor, Tensor]:
        """x [T, H] and the query's latent [T, rank] -> queries [T, heads, D], and the key that the
        cache keeps, [T, D]."""
        query = torch.unflatten(self.wq_b(source), -1, (self.shape.num_heads, -1))
        heads = torch.cat((query, self.k_norm(self.wk(x)).unsqueeze(1)), 1)
        if self.shape.interleaved:
            heads = in_halves(heads, 2 * rope[0].shape[-1])
        rotated = self.ops.rope(heads, *rope)
        return rotated[:, :-1], rotated[:, -1]

    def weights(self, x: Tensor) -> Tensor:
        """x [T, H] -> float32 [T, heads], of each head's scores. What all scores are multiplied by
        moves no choice and is left out."""
        weights: Tensor = self.weights_proj(x.float())
        return weights


class SparseLatentAttention(LatentAttention):
    """A choosing layer keeps index keys beside its latents; others read what it chose."""

    def __init__(self, ops: PortableOps, config: ModelConfig, layer: int) -> None:
        super().__init__(ops, config, layer)
        index, query_rank = self.shape.index, self.shape.query_rank
        assert index is not None
        assert query_rank is not None
        self.num_selected = index.num_selected
        chooses = layer in index.choosing_layers
        self.indexer = Indexer(ops, config, index, query_rank) if chooses else None

    def forward(self, x: Tensor, rope: Angles, step: StepContext) -> Tensor:
        """x [T, H] -> [T, H]; this step's latents and index keys go to the cache."""
        source = self.query_source(x)
        query, cached = self.query_and_cached(x, source, rope)
        latents = step.latents(self.ops, self.layer, cached)
        if self.indexer is not None:
            step.shared[_SELECTED] = self.select(self.indexer, x, source, rope, step)
        return self.attend(query, latents, step, step.shared[_SELECTED])

    def select(
        self, indexer: Indexer, x: Tensor, source: Tensor, rope: Angles, step: StepContext
    ) -> Tensor:
        """Positions that each token sees, int64 [T, S]; S is no more than there are."""
        attention = self.attention(step)
        longest = max(attention.context_lens, default=0)
        query, key = indexer.query_and_key(x, source, rope)
        keys = step.latents(self.ops, self.layer, key, part=1)
        return self.ops.select_keys(
            query,
            indexer.weights(x),
            keys,
            attention,
            count=min(self.num_selected, longest),
        )
