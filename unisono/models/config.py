"""The configuration of a decoder, checked once."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal, TypeVar

from unisono.models.dividing import Divides
from unisono.models.expert_shape import ExpertShape

NormKind = Literal["rms", "zero_centred_rms", "layer", "zero_centred_layer"]
QKNorm = Literal["head", "projection"]
Config = TypeVar("Config", bound="ModelConfig")


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexShape:
    """The index of sparse attention, which chooses the tokens that a query sees."""

    num_heads: int
    head_dim: int
    num_selected: int
    interleaved: bool
    """Rotation pairs are neighbouring dimensions."""
    choosing_layers: frozenset[int]
    """The others see what the last of these before them chose."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LatentShape:
    """The numbers of latent attention; N, P, V are the parts of a head that come from the latent,
    that are rotated, and that are the value."""

    query_rank: int | None
    """Rank of the queries' latent; None: queries come from the hidden state."""
    rank: int
    key_dim: int
    """N."""
    rotated_dim: int
    """P."""
    value_dim: int
    """V."""
    scale: float
    """Factor of attention scores."""
    bias: bool = False
    index: IndexShape | None = None
    """None: a query sees every token before it."""

    @property
    def cached_dim(self) -> int:
        return self.rank + self.rotated_dim


@dataclass(frozen=True, kw_only=True, slots=True)
class RopeConfig:
    """Rotary embedding: ``kind`` with its own ``scaling`` numbers, as the checkpoint names them."""

    kind: str = "default"
    theta: float = 10_000.0
    rotary_dim: int
    max_position: int
    scaling: dict[str, Any]
    interleaved: bool = False
    """Pairs are neighbouring dimensions; else dimension i and i + rotary_dim / 2."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """A decoder-only transformer. Families that need more say it in a subclass."""

    vocab_size: int
    hidden_size: int
    num_layers: int
    num_heads: Annotated[int, Divides("attention heads")]
    num_kv_heads: Annotated[int, Divides("key-value heads", by_kv_head=True)]
    head_dim: int
    intermediate_size: Annotated[int, Divides("columns of the MLP")]
    rms_norm_eps: float
    rope: RopeConfig
    max_position: int
    tie_embeddings: bool
    windows: tuple[int | None, ...]
    """One entry a layer; None sees everything."""
    layer_ropes: tuple[RopeConfig | None, ...] | None = None
    """One entry a layer, where they differ; None does not rotate."""
    qkv_bias: bool = False
    output_bias: bool = False
    mlp_bias: bool = False
    activation: str = "silu"
    """Activation of the MLP; one of ``ACTIVATIONS``."""
    norm: NormKind = "rms"
    norm_bias: bool = False
    qk_norm: QKNorm | None = None
    """Query and key are normed by head, or all heads of a projection at once."""
    attention_scale: float | None = None
    """Factor of attention scores; None: one over the root of the head size."""
    attention_softcap: float | None = None
    attention_sinks: bool = False
    embedding_scale: float = 1.0
    residual_scale: float = 1.0
    """Factor of each branch before it joins the residual stream."""
    logit_scale: float = 1.0
    logit_softcap: float | None = None
    experts: ExpertShape | None = None
    """None: every layer has an MLP."""
    num_draft_layers: int = 0
    """Layers of a checkpoint behind the last; they predict further tokens and are not loaded."""
    latent: LatentShape | None = None
    """Sizes of latent attention; ``head_dim`` is then a query's: key part and rotated part."""

    @classmethod
    def extending(cls: type[Config], base: ModelConfig, **own: Any) -> Config:
        """``base`` as a configuration of this subclass, with fields of its ``own``."""
        return cls(**{**{field.name: getattr(base, field.name) for field in fields(base)}, **own})

    @property
    def ropes(self) -> tuple[RopeConfig | None, ...]:
        """One entry a layer."""
        return self.layer_ropes or (self.rope,) * self.num_layers
