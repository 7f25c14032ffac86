"""The configuration of a decoder, checked once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

from unisono.core.errors import ConfigError
from unisono.models.expert_shape import ExpertShape
from unisono.models.latent_shape import IndexShape, LatentShape

__all__ = [
    "IndexShape",
    "LatentShape",
    "ModelConfig",
    "NormKind",
    "QKNorm",
    "RopeConfig",
    "check_divides",
    "num_kv_pieces",
]


NormKind = Literal["rms", "float32_rms", "zero_centred_rms", "layer", "zero_centred_layer"]
QKNorm = Literal["head", "projection"]


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
    num_heads: int
    num_kv_heads: int
    head_dim: int
    intermediate_size: int
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

    @property
    def ropes(self) -> tuple[RopeConfig | None, ...]:
        """One entry a layer."""
        return self.layer_ropes or (self.rope,) * self.num_layers

    def divided(self: C, size: int) -> C:
        """The configuration of a rank's part, where ``size`` ranks share heads and MLP.

        Raises:
            ConfigError: they do not divide among so many ranks.
        """
        check_divides(self.num_heads, size, "attention heads")
        check_divides(self.intermediate_size, size, "columns of the MLP")
        return replace(
            self,
            num_heads=self.num_heads // size,
            num_kv_heads=self.num_kv_heads // num_kv_pieces(self.num_kv_heads, size),
            intermediate_size=self.intermediate_size // size,
            experts=self._divided_experts(size),
        )

    def _divided_experts(self, size: int) -> ExpertShape | None:
        if self.experts is None:
            return None
        check_divides(self.experts.size, size, "columns of an expert")
        check_divides(self.experts.shared_size, size, "columns of the shared expert")
        return self.experts.divided(size)


C = TypeVar("C", bound=ModelConfig)


def check_divides(number: int, size: int, what: str) -> None:
    """Raises ConfigError: they do not divide among so many ranks."""
    if number % size:
        raise ConfigError(
            f"{number} {what} do not divide among {size} ranks.", hint=_fewer_ranks(number, size)
        )


def num_kv_pieces(num_kv_heads: int, size: int) -> int:
    """Different parts that the key-value heads fall into; a part may be on several ranks.

    Raises:
        ConfigError: neither divide among the others.
    """
    if num_kv_heads % size and size % num_kv_heads:
        raise ConfigError(
            f"{num_kv_heads} key-value heads neither divide among {size} ranks, nor the ranks "
            "among them.",
            hint=_fewer_ranks(num_kv_heads, size),
        )
    return min(num_kv_heads, size)


def _fewer_ranks(number: int, size: int) -> str:
    fewer = max(n for n in range(1, size) if number % n == 0)
    return f"--tp {fewer} is possible in this respect."
