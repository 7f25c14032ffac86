"""Text of Gemma 4 (Google, 2026): layers that see everything have larger heads, the last layers
read keys and values of earlier ones, small models add an embedding of the token in each layer, and
one has experts beside the MLP.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from unisono.core.cache import LayerCache
from unisono.hardware.ops.experts import Routing
from unisono.hardware.ops.portable import PortableOps
from unisono.models.checkpoint.names import TEXT_OF_MULTIMODAL, CheckpointNames
from unisono.models.checkpoint.splits import FusedExperts, Split
from unisono.models.config import ModelConfig
from unisono.models.decoder import kv_cache, num_pairs
from unisono.models.expert_shape import ExpertShape
from unisono.models.families.gemma import Gemma
from unisono.models.families.gemma4_config import Gemma4Config, read_gemma4
from unisono.models.layers.attention import HEAD_SPLITS, Attention
from unisono.models.layers.linear import Embedding, Linear, unfilled
from unisono.models.layers.mlp import MLP
from unisono.models.layers.moe import Experts
from unisono.models.layers.norm import make_norm
from unisono.models.layers.residual import SandwichLayer
from unisono.models.layers.rope import Angles
from unisono.models.raw_config import RawConfig
from unisono.models.step import StepContext

_PER_LAYER = "per-layer inputs"


class Gemma4(Gemma):
    config: Gemma4Config
    renamed = (
        *TEXT_OF_MULTIMODAL.renamed,
        (".router.", ".moe.gate."),
        (".experts.", ".moe.experts."),
    )

    @classmethod
    def read_config(cls, raw: RawConfig) -> Gemma4Config:
        return read_gemma4(raw)

    def __init__(self, config: Gemma4Config, ops: PortableOps, device: torch.device) -> None:
        super().__init__(config, ops, device)
        self.embed_tokens_per_layer: Embedding | None = None
        if config.token_size:
            width = config.num_layers * config.token_size
            self.embed_tokens_per_layer = Embedding(ops, config.token_vocab, width)
            self.per_layer_model_projection = Linear(
                ops, config.hidden_size, {"per_layer_model_projection": width}, split=None
            )
            self.per_layer_projection_norm = make_norm(ops, config, config.token_size)

    def make_layer(self, ops: PortableOps, config: ModelConfig, layer: int) -> nn.Module:
        assert isinstance(config, Gemma4Config)
        own = config.of_layer(layer)
        return Gemma4Layer(ops, own, Gemma4Attention(ops, own, layer), MLP(ops, own), layer)

    def checkpoint_names(self) -> CheckpointNames:
        """Files hold projections of keys and values also where a layer reads another's."""
        unused = tuple(
            f"{prefix}layers.{layer}.self_attn.{part}."
            for layer, source in enumerate(self.config.kv_sources)
            if source != layer
            for prefix in ("model.", "model.language_model.")
            for part in ("k_proj", "v_proj", "k_norm", "v_norm")
        )
        ignored = (*TEXT_OF_MULTIMODAL.ignored, *unused)
        return replace(super().checkpoint_names(), ignored=ignored)

    def stored_splits(self) -> Sequence[Split]:
        return (FusedExperts(self.config.num_experts),)

    def prepare_step(self, token_ids: Tensor, x: Tensor, step: StepContext) -> None:
        if self.embed_tokens_per_layer is not None:
            own = self.embed_tokens_per_layer(token_ids)
            step.shared[_PER_LAYER] = self._of_tokens(own, x)

    def _of_tokens(self, own: Tensor, x: Tensor) -> Tensor:
        """Per-layer inputs of the tokens, [T, layers, P]: the layers' own embeddings, plus
        projections of the common embedding."""
        config = self.config
        shape = len(x), config.num_layers, config.token_size
        scale = torch.tensor(config.token_size**0.5, dtype=x.dtype)
        own = (own * scale).view(shape)
        made = self.per_layer_model_projection(x) * config.hidden_size**-0.5
        made = self.per_layer_projection_norm(made.view(shape))
        return (made + own) * 2.0**-0.5

    def attention_flops(self, layer: int, length: int) -> int:
        """Operations of all layers that read this layer's keys and values."""
        config = self.config
        pairs = num_pairs(length, config.windows[layer])
        once = 4 * pairs * config.num_heads * config.head_dims[layer]
        return config.kv_sources.count(layer) * once

    def layer_caches(self, dtype: torch.dtype) -> list[LayerCache]:
        """Caches of the layers that write keys and values: the first ones."""
        config = self.config
        return [
            kv_cache((config.kv_heads[layer], config.head_dims[layer]), dtype, window)
            for layer, window in enumerate(config.windows)
            if config.kv_sources[layer] == layer
        ]


class Gemma4Attention(Attention):
    """Values are normed too, and may be what the keys were before their own norm."""

    def __init__(self, ops: PortableOps, config: Gemma4Config, layer: int) -> None:
        super().__init__(ops, config, layer)
        self.source = config.kv_sources[layer]
        parts = self.qkv_proj.parts
        if config.keys_are_values[layer]:
            del parts["v_proj"]
        if self.source != layer:
            self.k_norm, parts = None, {"q_proj": parts["q_proj"]}
        self.qkv_proj = Linear(
            ops, config.hidden_size, parts, split=HEAD_SPLITS, bias=config.qkv_bias
        )

    def forward(self, x: Tensor, rope: Angles | None, step: StepContext) -> Tensor:
        assert rope is not None
        assert self.q_norm is not None
        heads = self.qkv_proj(x).view(x.shape[0], -1, self.head_dim)
        query = self.rotate(self.q_norm(heads[:, : self.num_heads]), rope)
        if self.k_norm is not None:
            key = heads[:, self.num_heads : self.num_heads + self.num_kv_heads]
            value = heads[:, -self.num_kv_heads :]
            value = self.ops.rms_norm(value, value.new_ones(self.head_dim), self.k_norm.eps)
            key = self.rotate(self.k_norm(key), rope)
            kv = step.keys_and_values(self.ops, self.source, key, value)
            step.shared[f"keys and values of layer {self.source}"] = kv
        kv = step.shared[f"keys and values of layer {self.source}"]
        attention = step.attention[self.source]
        out = self.ops.attention(query, kv, attention, scale=self.scale)
        return self.o_proj(out.flatten(1))


class Gemma4Layer(SandwichLayer):
    """Experts may stand beside the MLP. After both branches, the token's own embedding, gated by
    the stream; all times a scalar."""

    constants = ("layer_scalar",)

    def __init__(
        self,
        ops: PortableOps,
        config: Gemma4Config,
        attention: nn.Module,
        mlp: nn.Module,
        layer: int,
    ) -> None:
        super().__init__(ops, config, attention, mlp)
        self.layer = layer
        self.ops, self.activation = ops, config.activation
        self.layer_scalar = unfilled(1)
        self.moe: Gemma4MoE | None = None
        if config.num_experts:
            self.moe = Gemma4MoE(ops, config)
            self.post_feedforward_layernorm_1 = make_norm(ops, config, config.hidden_size)
            self.pre_feedforward_layernorm_2 = make_norm(ops, config, config.hidden_size)
            self.post_feedforward_layernorm_2 = make_norm(ops, config, config.hidden_size)
        if config.token_size:
            hidden, size = config.hidden_size, config.token_size
            self.per_layer_input_gate = Linear(
                ops, hidden, {"per_layer_input_gate": size}, split=None
            )
            self.per_layer_projection = Linear(
                ops, size, {"per_layer_projection": hidden}, split=None
            )
            self.post_per_layer_input_norm = make_norm(ops, config, hidden)

    def forward(
        self, x: Tensor, residual: Tensor | None, rope: Angles | None, step: StepContext
    ) -> tuple[Tensor, Tensor | None]:
        """The whole stream in and out."""
        x, stream = super().forward(x, residual, rope, step)
        x = x if stream is None else stream + x
        if _PER_LAYER in step.shared:
            token = step.shared[_PER_LAYER][:, self.layer]
            gate = self.ops.act(self.per_layer_input_gate(x), self.activation)
            x = x + self.post_per_layer_input_norm(self.per_layer_projection(gate * token))
        return x * self.layer_scalar, None

    def feed_forward(self, x: Tensor, stream: Tensor) -> Tensor:
        if self.moe is None:
            return super().feed_forward(x, stream)
        dense = self.post_feedforward_layernorm_1(self.mlp(x))
        chosen = self.moe(self.pre_feedforward_layernorm_2(stream), stream)
        return dense + self.post_feedforward_layernorm_2(chosen)


class Gemma4MoE(nn.Module):
    """Experts that are chosen by the stream as it is, and run on its norm."""

    gives_term = True

    def __init__(self, ops: PortableOps, config: Gemma4Config) -> None:
        super().__init__()
        self.ops, self.activation = ops, config.activation
        self.gate = Gemma4Router(ops, config)
        shape = ExpertShape(
            num_experts=config.num_experts,
            size=config.expert_size,
            routing=self.gate.routing,
            layers=frozenset(),
        )
        self.experts = Experts(ops, config.hidden_size, shape)

    def forward(self, x: Tensor, stream: Tensor) -> Tensor:
        """x and stream [T, H] -> [T, H]."""
        ids, weights = self.gate(stream)
        return self.ops.moe_experts(x, ids, weights, self.experts.held, self.activation)


class Gemma4Router(nn.Module):
    """A norm whose weight is a scale, and a factor for each expert."""

    def __init__(self, ops: PortableOps, config: Gemma4Config) -> None:
        super().__init__()
        self.ops, self.eps = ops, config.rms_norm_eps
        self.routing = Routing(num_chosen=config.num_chosen, normalized=True)
        self.scale = unfilled(config.hidden_size)
        self.proj = Linear(
            ops, config.hidden_size, {"proj": config.num_experts}, split=None, quantizable=False
        )
        self.per_expert_scale = unfilled(config.num_experts)

    def forward(self, stream: Tensor) -> tuple[Tensor, Tensor]:
        """[T, H] -> ids int64 [T, k] and weights float32 [T, k]."""
        width = stream.shape[-1]
        normed = self.ops.rms_norm(stream, stream.new_ones(width), self.eps)
        logits = self.proj(normed * self.scale * width**-0.5)
        ids, weights = self.ops.moe_route(logits, self.routing)
        return ids, weights * self.per_expert_scale[ids].float()
