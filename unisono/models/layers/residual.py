"""Decoder layers: how attention and MLP, the two branches, join the residual stream.

A layer gets what the branch before it gave and the stream beside it, and gives the same: the
addition is left to the next norm, which an op may take together with it.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from unisono.hardware.ops.portable import PortableOps
from unisono.hardware.ops.standard import StandardAttention, StandardLayer, StandardMLP
from unisono.models.config import ModelConfig
from unisono.models.layers.described import Described, standard_of
from unisono.models.layers.norm import Norm, make_norm
from unisono.models.layers.rope import Angles
from unisono.models.step import StepContext


class _Layer(Described):
    """The base: two branches, those norms that ``norms`` names, and a scale for branches."""

    norms: ClassVar[tuple[str, ...]]
    input_layernorm: Norm
    post_attention_layernorm: Norm
    pre_feedforward_layernorm: Norm
    post_feedforward_layernorm: Norm

    def __init__(
        self, ops: PortableOps, config: ModelConfig, attention: nn.Module, mlp: nn.Module
    ) -> None:
        super().__init__()
        self.self_attn, self.mlp = attention, mlp
        self.branch_scale = config.residual_scale
        for name in self.norms:
            self.add_module(name, make_norm(ops, config, config.hidden_size))

    def _scaled(self, x: Tensor) -> Tensor:
        return x if self.branch_scale == 1.0 else x * self.branch_scale


class DecoderLayer(_Layer):
    """Norm, attention, norm, MLP."""

    norms = ("input_layernorm", "post_attention_layernorm")

    def forward(
        self, x: Tensor, residual: Tensor | None, rope: Angles | None, step: StepContext
    ) -> tuple[Tensor, Tensor]:
        x, residual = self.input_layernorm.add(x, residual)
        x = self._scaled(self.mix(x, rope, step))
        x, residual = self.post_attention_layernorm.add(x, residual)
        return self._scaled(self.mlp(x)), residual

    def mix(self, x: Tensor, rope: Angles | None, step: StepContext) -> Tensor:
        """The first branch, x [T, H] -> [T, H]."""
        return self.self_attn(x, rope, step)

    def standard(self) -> StandardLayer | None:
        attention, mlp = standard_of(self.self_attn), standard_of(self.mlp)
        norms = self.input_layernorm.standard(), self.post_attention_layernorm.standard()
        are_standard = isinstance(attention, StandardAttention) and isinstance(mlp, StandardMLP)
        if not are_standard or None in norms or self.branch_scale != 1.0:
            return None
        return StandardLayer(
            attention_norm=norms[0], attention=attention, mlp_norm=norms[1], mlp=mlp
        )


class RecurrentLayer(DecoderLayer):
    """A layer with a recurrent state in place of attention; checkpoints call it ``linear_attn``."""

    def __init__(
        self, ops: PortableOps, config: ModelConfig, mixer: nn.Module, mlp: nn.Module
    ) -> None:
        super().__init__(ops, config, mixer, mlp)
        del self.self_attn
        self.linear_attn = mixer

    def mix(self, x: Tensor, rope: Angles | None, step: StepContext) -> Tensor:
        return self.linear_attn(x, step)


class SandwichLayer(_Layer):
    """Each branch is normed before and behind (Gemma 2)."""

    norms = (
        *("input_layernorm", "post_attention_layernorm"),
        *("pre_feedforward_layernorm", "post_feedforward_layernorm"),
    )

    def forward(
        self, x: Tensor, residual: Tensor | None, rope: Angles | None, step: StepContext
    ) -> tuple[Tensor, Tensor | None]:
        x, stream = self.input_layernorm.add(x, residual)
        x = self._scaled(self.post_attention_layernorm(self.self_attn(x, rope, step)))
        x, stream = self.pre_feedforward_layernorm.add(x, stream)
        return self._scaled(self.post_feedforward_layernorm(self.feed_forward(x, stream))), stream

    def feed_forward(self, x: Tensor, stream: Tensor) -> Tensor:
        """``x`` is the norm of the stream, both [T, H]."""
        return self.mlp(x)


class PostNormLayer(_Layer):
    """Each branch is normed behind, not before (OLMo 2)."""

    norms = ("post_attention_layernorm", "post_feedforward_layernorm")

    def forward(
        self, x: Tensor, residual: Tensor | None, rope: Angles | None, step: StepContext
    ) -> tuple[Tensor, Tensor]:
        stream = x if residual is None else residual + x
        stream = stream + self.post_attention_layernorm(self.self_attn(stream, rope, step))
        return self.post_feedforward_layernorm(self.mlp(stream)), stream


class ParallelLayer(_Layer):
    """Both branches see the same norm of the stream (Cohere)."""

    norms = ("input_layernorm",)

    def forward(
        self, x: Tensor, residual: Tensor | None, rope: Angles | None, step: StepContext
    ) -> tuple[Tensor, Tensor]:
        x, residual = self.input_layernorm.add(x, residual)
        return self.self_attn(x, rope, step) + self.mlp(x), residual
