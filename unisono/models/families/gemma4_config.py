"""The configuration of Gemma 4, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any

from unisono.core.errors import CheckpointError, LayerListError
from unisono.models.config import ModelConfig
from unisono.models.dividing import Divides
from unisono.models.raw_config import RawConfig

_Windows = tuple[int | None, ...]
_DEFAULTS: dict[str, Any] = {
    "num_key_value_heads": 4,
    "head_dim": 256,
    "global_head_dim": 512,
    "max_position_embeddings": 131_072,
    "sliding_window": 512,
    "tie_word_embeddings": True,
    "hidden_size_per_layer_input": 256,
}
_ROPE = {
    "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
    "full_attention": {
        "rope_type": "proportional",
        "partial_rotary_factor": 0.25,
        "rope_theta": 1_000_000.0,
    },
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Gemma4Config(ModelConfig):
    """Lists have one entry a layer."""

    head_dims: tuple[int, ...]
    kv_heads: Annotated[tuple[int, ...], Divides("key-value heads", by_kv_head=True)]
    kv_sources: tuple[int, ...]
    """The layer whose keys and values it reads; the first of a kind to read its own writes them."""
    mlp_sizes: Annotated[tuple[int, ...], Divides("columns of the MLP")]
    keys_are_values: tuple[bool, ...]
    token_size: int
    """Width of the token's own embedding in each layer; 0: there is none."""
    token_vocab: int
    num_experts: int = 0
    """Beside the MLP of each layer; 0: there are none."""
    num_chosen: int = 0
    expert_size: Annotated[int, Divides("columns of an expert")] = 0

    def of_layer(self, layer: int) -> Gemma4Config:
        """With the sizes of one layer in the common fields."""
        return replace(
            self,
            head_dim=self.head_dims[layer],
            num_kv_heads=self.kv_heads[layer],
            intermediate_size=self.mlp_sizes[layer],
        )


def read_gemma4(raw: RawConfig) -> Gemma4Config:
    """Raises what ``RawConfig`` raises."""
    raw = raw.text().with_defaults(**_DEFAULTS)
    if raw.get("use_bidirectional_attention") != "vision":
        raw.require(use_bidirectional_attention=None)
    if not raw.mapping("rope_parameters"):
        raw = raw.with_values(rope_parameters=_ROPE)
    # The last layer sees everything, whatever the file says.
    windows: _Windows = (*raw.windows(whole_every=6)[:-1], None)
    sources = _sources(raw, windows)
    width = raw.integer("intermediate_size")
    wide = raw.flag("use_double_wide_mlp", False)
    keys_are_values = raw.flag("attention_k_eq_v", False)
    head_dims, kv_heads = _sizes(raw, windows)
    whole = {w is None: size for w, size in zip(windows, head_dims, strict=True)}
    ropes = {
        True: raw.rope(whole.get(True, head_dims[0]), "full_attention"),
        False: raw.rope(whole.get(False, head_dims[0]), "sliding_attention"),
    }
    config = raw.dense_decoder(
        **raw.attention_biases(),
        qk_norm="head",
        activation=raw.activation("hidden_activation", "gelu_pytorch_tanh"),
        embedding_scale=raw.integer("hidden_size") ** 0.5,
        attention_scale=1.0,
        logit_softcap=raw.optional_number("final_logit_softcapping"),
        windows=windows,
        rope=ropes[True],
        layer_ropes=tuple(ropes[window is None] for window in windows),
    )
    num_experts = raw.integer("num_experts") if raw.flag("enable_moe_block", False) else 0
    return Gemma4Config.extending(
        config,
        head_dim=max(head_dims),
        num_kv_heads=max(kv_heads),
        head_dims=head_dims,
        kv_heads=kv_heads,
        kv_sources=sources,
        mlp_sizes=tuple(
            2 * width if wide and source != layer else width for layer, source in enumerate(sources)
        ),
        keys_are_values=tuple(keys_are_values and window is None for window in windows),
        token_size=raw.integer("hidden_size_per_layer_input", 0, least=0),
        token_vocab=raw.integer("vocab_size_per_layer_input", 262_144),
        num_experts=num_experts,
        num_chosen=num_experts and raw.integer("top_k_experts", most=num_experts),
        expert_size=num_experts and raw.integer("moe_intermediate_size"),
    )


def _sizes(raw: RawConfig, windows: _Windows) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Head sizes and key-value heads. transformers writes what differs under the number of the
    layer, the published files once for all layers that see everything."""
    head_dim, kv_heads = raw.integer("head_dim"), raw.integer("num_key_value_heads")
    large = raw.integer("global_head_dim")
    few = raw.integer("num_global_key_value_heads", kv_heads)
    few = few if raw.flag("attention_k_eq_v", False) else kv_heads
    sizes = [(head_dim, kv_heads) if window else (large, few) for window in windows]
    for layer, values in raw.mapping("per_layer_config").items():
        if not layer.isdecimal() or int(layer) >= len(sizes) or not isinstance(values, dict):
            raise LayerListError(f"{raw.source}: per_layer_config has no layer {layer!r:.40}.")
        own = RawConfig(values, f"{raw.source}: per_layer_config {layer}")
        known = {"head_dim": head_dim, "num_key_value_heads": kv_heads}
        own.require(**dict.fromkeys(set(values) - set(known)))
        head, heads = (own.integer(name, default) for name, default in known.items())
        sizes[int(layer)] = head, heads
    return tuple(head for head, _ in sizes), tuple(heads for _, heads in sizes)


def _sources(raw: RawConfig, windows: _Windows) -> tuple[int, ...]:
    """The last ``num_kv_shared_layers`` read the last layer of their kind before them."""
    count = len(windows)
    first = count - raw.integer("num_kv_shared_layers", 0, least=0, most=count - 1)
    last = {window is None: layer for layer, window in enumerate(windows[:first])}
    if any((window is None) not in last for window in windows[first:]):
        raise CheckpointError(
            f"{raw.source}: no layer before the last {count - first} has keys and values for all of"
            " them."
        )
    return (*range(first), *(last[window is None] for window in windows[first:]))
