"""Latent attention to a few tokens, which a small index of all tokens chooses."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unisono.hardware.ops.portable import PortableOps
from unisono.models.config import IndexShape, ModelConfig
from unisono.models.layers.latent_attention import LatentAttention
from unisono.models.layers.linear import Linear
from unisono.models.layers.norm import LayerNorm
from unisono.models.layers.rope import Angles, rotate_together
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
        assert config.latent is not None
        self.ops, self.shape = ops, shape
        self.rotated_dim = config.latent.rotated_dim
        self.wq_b = Linear(ops, query_rank, {"wq_b": shape.num_heads * shape.head_dim}, split=None)
        self.wk = Linear(ops, config.hidden_size, {"wk": shape.head_dim}, split=None)
        self.k_norm = LayerNorm(ops, shape.head_dim, _KEY_NORM_EPS, bias=True)
        weights = {"weights_proj": shape.num_heads}
        self.weights_proj = Linear(
            ops, config.hidden_size, weights, split=None, quantizable=False, float32=True
        )

    def heads(self, x: Tensor, source: Tensor) -> Tensor:
        """x [T, H] and the query's latent [T, rank] -> queries, and last the key that the cache
        keeps, [T, heads + 1, D], before the rotation."""
        query = torch.unflatten(self.wq_b(source), -1, (self.shape.num_heads, -1))
        return torch.cat((query, self.k_norm(self.wk(x)).unsqueeze(1)), 1)

    def turning(self, heads: Tensor) -> tuple[Tensor, bool]:
        """The part of ``heads`` that rotates, as ``rotate_together`` takes it; without a gradient,
        because a choice has none."""
        return heads[..., : self.rotated_dim].detach(), self.shape.interleaved

    def join(self, heads: Tensor, turned: Tensor) -> tuple[Tensor, Tensor]:
        """Queries [T, heads, D] and key [T, D], with the part that has been rotated."""
        joined = torch.cat((turned, heads[..., self.rotated_dim :]), -1)
        return joined[:, :-1], joined[:, -1]

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
        parts = self.project(x, source)
        kinds = self.turning(parts)
        if self.indexer is None:
            query, cached = self.join(parts, *rotate_together(self.ops, kinds, rope))
            latents = step.latents(self.ops, self.layer, cached)
        else:
            heads = self.indexer.heads(x, source)
            kinds.append(self.indexer.turning(heads))
            turned, shared, of_index = rotate_together(self.ops, kinds, rope)
            query, cached = self.join(parts, turned, shared)
            latents = step.latents(self.ops, self.layer, cached)
            weights = self.indexer.weights(x)
            step.shared[_SELECTED] = self.select(*self.indexer.join(heads, of_index), weights, step)
        return self.attend(query, latents, step, step.shared[_SELECTED])

    def select(self, query: Tensor, key: Tensor, weights: Tensor, step: StepContext) -> Tensor:
        """Positions that each token sees, int64 [T, S]; S is no more than there are."""
        attention = self.attention(step)
        longest = max(attention.context_lens, default=0)
        keys = step.latents(self.ops, self.layer, key, part=1)
        count = min(self.num_selected, longest)
        return self.ops.select_keys(query, weights, keys, attention, count=count)
