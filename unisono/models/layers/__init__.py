"""Blocks that the families share."""

from unisono.models.layers.attention import Attention
from unisono.models.layers.latent_attention import LatentAttention
from unisono.models.layers.linear import Embedding, Head, Linear
from unisono.models.layers.mlp import MLP, PlainMLP
from unisono.models.layers.moe import Experts, MoE, Router
from unisono.models.layers.norm import (
    LayerNorm,
    Norm,
    ProjectionNorm,
    RMSNorm,
    ZeroCentredRMSNorm,
    make_norm,
)
from unisono.models.layers.residual import (
    DecoderLayer,
    ParallelLayer,
    PostNormLayer,
    RecurrentLayer,
    SandwichLayer,
)
from unisono.models.layers.rope import Rope
from unisono.models.layers.sparse_attention import SparseLatentAttention

__all__ = [
    "MLP",
    "Attention",
    "DecoderLayer",
    "Embedding",
    "Experts",
    "LatentAttention",
    "LayerNorm",
    "Head",
    "Linear",
    "MoE",
    "Norm",
    "ParallelLayer",
    "PlainMLP",
    "PostNormLayer",
    "ProjectionNorm",
    "RMSNorm",
    "RecurrentLayer",
    "Rope",
    "Router",
    "SandwichLayer",
    "SparseLatentAttention",
    "ZeroCentredRMSNorm",
    "make_norm",
]
