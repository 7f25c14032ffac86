"""Multi-head latent attention: the cache holds a latent of each token, not its keys and values."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from unisono.core.weight_format import WeightFormat
from unisono.hardware.ops.attention import AttentionStep
from unisono.hardware.ops.portable import PortableOps
from unisono.models.config import LatentShape, ModelConfig
from unisono.models.layers.linear import Linear
from unisono.models.layers.norm import RMSNorm
from unisono.models.layers.rope import Angles, rotate_together
from unisono.models.step import StepContext

_LATENT_NORM_EPS = 1e-6
"""Epsilon of the norms of the latents, whatever the layers' is (as in the published code)."""


class UpProjection(Linear):
    """From a latent to each head's key [N] and value [V].

    Attention takes the matrix to queries as well as to latents, so it is always an ordinary one.
    """

    takes_stored_forms = False
    takes_adapters = False

    def __init__(self, ops: PortableOps, shape: LatentShape, num_heads: int) -> None:
        rows = num_heads * (shape.key_dim + shape.value_dim)
        super().__init__(ops, shape.rank, {"kv_b_proj": rows}, split="out", quantizable=False)
        self.num_heads, self.key_dim = num_heads, shape.key_dim

    def prepare(self, format: WeightFormat | None = None) -> None:
        """Checkpoints hold a head's key above its value; here the keys of all heads come first."""
        heads = self.weight.unflatten(0, (self.num_heads, -1))
        parts = heads[:, : self.key_dim], heads[:, self.key_dim :]
        apart = torch.cat([part.flatten(0, 1) for part in parts])
        self.weight = nn.Parameter(apart, requires_grad=False)

    def parts_by_head(self) -> tuple[Tensor, Tensor]:
        """[heads, N, R] and [heads, V, R]."""
        num_keys = self.num_heads * self.key_dim
        keys, values = self.weight[:num_keys], self.weight[num_keys:]
        return (
            keys.view(self.num_heads, -1, keys.shape[1]),
            values.view(self.num_heads, -1, values.shape[1]),
        )


class Projected(NamedTuple):
    """The parts of a step's queries, and of what its cache keeps, before the rotation."""

    own: Tensor
    """[T, heads, N], of queries: meets keys that come from latents."""
    turning: Tensor
    """[T, heads, P], of queries: rotates."""
    latent: Tensor
    """[T, R], before its norm."""
    shared: Tensor
    """[T, 1, P], the part of keys that rotates; all heads share it."""


class LatentAttention(nn.Module):
    """DeepSeek-AI (2024), DeepSeek-V2, section 2.1. Ranks divide its heads; the latents that these
    share are whole on each."""

    gives_term = True

    def __init__(self, ops: PortableOps, config: ModelConfig, layer: int) -> None:
        super().__init__()
        assert config.latent is not None
        shape = config.latent
        self.rotates_pairs = config.rope.interleaved
        self.ops, self.shape, self.layer = ops, shape, layer
        self.num_heads = config.num_heads
        hidden, bias = config.hidden_size, shape.bias
        query_rows = config.num_heads * (shape.key_dim + shape.rotated_dim)
        if shape.query_rank is None:
            self.q_proj = Linear(ops, hidden, {"q_proj": query_rows}, split="out")
        else:
            self.q_a_proj = Linear(
                ops, hidden, {"q_a_proj": shape.query_rank}, split=None, bias=bias
            )
            self.q_a_layernorm = RMSNorm(ops, shape.query_rank, _LATENT_NORM_EPS)
            self.q_b_proj = Linear(ops, shape.query_rank, {"q_b_proj": query_rows}, split="out")
        self.kv_a_proj_with_mqa = Linear(
            ops, hidden, {"kv_a_proj_with_mqa": shape.cached_dim}, split=None, bias=bias
        )
        self.kv_a_layernorm = RMSNorm(ops, shape.rank, _LATENT_NORM_EPS)
        self.kv_b_proj = UpProjection(ops, shape, config.num_heads)
        value_rows = config.num_heads * shape.value_dim
        self.o_proj = Linear(ops, value_rows, {"o_proj": hidden}, split="in", bias=bias)

    def forward(self, x: Tensor, rope: Angles, step: StepContext) -> Tensor:
        """x [T, H] -> [T, H]; this step's latents go to the cache."""
        parts = self.project(x, self.query_source(x))
        query, cached = self.join(parts, *rotate_together(self.ops, self.turning(parts), rope))
        latents = step.latents(self.ops, self.layer, cached)
        return self.attend(self.placed(query, step.positions), latents, step)

    def attention(self, step: StepContext) -> AttentionStep:
        return step.attention[self.layer]

    def attend(
        self, query: Tensor, latents: Tensor, step: StepContext, selected: Tensor | None = None
    ) -> Tensor:
        """query [T, heads, N + P] over latents [blocks, block_size, R + P] -> [T, H], from what
        ``selected`` [T, S] names of the context."""
        out = self.ops.latent_attention(
            query,
            latents,
            self.kv_b_proj.parts_by_head(),
            self.attention(step),
            scale=self.shape.scale,
            selected=selected,
        )
        return self.o_proj(out.flatten(1))

    def query_source(self, x: Tensor) -> Tensor:
        """x [T, H] -> what queries are made from: their own latent, or x itself."""
        return x if self.shape.query_rank is None else self.q_a_layernorm(self.q_a_proj(x))

    def project(self, x: Tensor, source: Tensor) -> Projected:
        """x [T, H] and its ``query_source``, projected."""
        project = self.q_proj if self.shape.query_rank is None else self.q_b_proj
        query = torch.unflatten(project(source), -1, (self.num_heads, -1))
        own, turning = torch.split(query, [self.shape.key_dim, self.shape.rotated_dim], -1)
        both = self.kv_a_proj_with_mqa(x)
        latent, shared = torch.split(both, [self.shape.rank, self.shape.rotated_dim], -1)
        return Projected(own, turning, latent, shared.unsqueeze(1))

    def turning(self, parts: Projected) -> list[tuple[Tensor, bool]]:
        """The parts that rotate, as ``rotate_together`` takes them."""
        return [(parts.turning, self.rotates_pairs), (parts.shared, self.rotates_pairs)]

    def join(self, parts: Projected, turned: Tensor, shared: Tensor) -> tuple[Tensor, Tensor]:
        """Queries [T, heads, N + P], and what the cache keeps, [T, R + P], with the parts that
        have been rotated."""
        cached = torch.cat((self.kv_a_layernorm(parts.latent), shared.squeeze(1)), -1)
        return torch.cat((parts.own, turned), -1), cached

    def placed(self, query: Tensor, positions: Tensor) -> Tensor:
        """Queries [T, heads, N + P] as they meet the keys; a family may scale them by position."""
        return query
