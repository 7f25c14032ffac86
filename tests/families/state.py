"""Decoders with a recurrent state."""

from __future__ import annotations

from typing import Any

from tests.families.case import Case, family, variant

DELTA_NET: dict[str, Any] = {
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 24,
    "linear_conv_kernel_dim": 4,
    "head_dim": 32,
    # What a state gives may be near zero, and its norm magnifies the rounding errors in it.
    "rms_norm_eps": 0.02,
    "initializer_range": 0.2,
}
MIXED = ["linear_attention", "full_attention", "linear_attention", "linear_attention"]
EXPERTS: dict[str, Any] = {
    "num_experts": 8,
    "num_experts_per_tok": 3,
    "moe_intermediate_size": 24,
    "shared_expert_intermediate_size": 40,
}
DENSE: dict[str, Any] = {**DELTA_NET, "num_hidden_layers": 4, "num_experts": 0}
MROPE: dict[str, Any] = {
    "rope_type": "default",
    "rope_theta": 1e6,
    "partial_rotary_factor": 0.5,
    "mrope_interleaved": True,
    "mrope_section": [4, 2, 2],
}
CONVOLUTIONS: dict[str, Any] = {
    "layer_types": ["conv", "full_attention", "conv"],
    "conv_L_cache": 3,
    "norm_eps": 0.01,
}
MAMBA: dict[str, Any] = {
    "layer_types": ["linear_attention", "full_attention", "linear_attention"],
    "mamba_n_heads": 8,
    "mamba_n_groups": 2,
    "mamba_d_state": 16,
    "shared_intermediate_size": 48,
    "embedding_multiplier": 3.0,
    "attention_multiplier": 0.2,
    "residual_multiplier": 0.6,
    "logits_scaling": 0.5,
    "rms_norm_eps": 0.02,
    "initializer_range": 0.2,
}
TEXT: dict[str, Any] = {**DELTA_NET, "layer_types": MIXED[:3], "rope_parameters": MROPE}
VISION: dict[str, Any] = {
    "depth": 1,
    "hidden_size": 16,
    "num_heads": 2,
    "intermediate_size": 16,
    "out_hidden_size": 64,
    "num_position_embeddings": 16,
}

CASES: dict[str, Case] = {
    "qwen3_next-dense": family("qwen3_next", **DENSE, layer_types=MIXED),
    "qwen3_next-dense-by-interval": variant("qwen3_next", **DENSE),
    "qwen3_next": family("qwen3_next", **DELTA_NET, **EXPERTS, layer_types=MIXED[1:]),
    "qwen3_next-options": variant(
        "qwen3_next",
        **DELTA_NET,
        **EXPERTS,
        layer_types=MIXED[:3],
        norm_topk_prob=False,
        mlp_only_layers=[1],
        attention_bias=True,
    ),
    "qwen3_5": family("qwen3_5_text", **DELTA_NET, num_hidden_layers=4, layer_types=MIXED),
    "qwen3_5-tied": variant(
        "qwen3_5_text", **DELTA_NET, layer_types=MIXED[:3], tie_word_embeddings=True
    ),
    "qwen3_5-moe": family("qwen3_5_moe_text", **DELTA_NET, **EXPERTS, layer_types=MIXED[1:]),
    "qwen3_5-multimodal": variant("qwen3_5", text_config=TEXT, vision_config=VISION),
    "qwen3_5-moe-multimodal": variant(
        "qwen3_5_moe", text_config={**TEXT, **EXPERTS}, vision_config=VISION
    ),
    "lfm2": family("lfm2", **CONVOLUTIONS),
    "lfm2-bias-and-width": variant(
        "lfm2", **CONVOLUTIONS, conv_bias=True, block_ffn_dim_multiplier=1.3, block_multiple_of=8
    ),
    "lfm2-no-adjusting": variant(
        "lfm2", **CONVOLUTIONS, block_auto_adjust_ff_dim=False, tie_word_embeddings=False
    ),
    "lfm2-moe": family("lfm2_moe", **CONVOLUTIONS, **EXPERTS, num_dense_layers=1),
    "lfm2-moe-plain": variant(
        "lfm2_moe",
        **{**CONVOLUTIONS, **EXPERTS},
        num_dense_layers=0,
        use_expert_bias=False,
        norm_topk_prob=False,
        routed_scaling_factor=2.5,
    ),
    "granite-hybrid": family("granitemoehybrid", **MAMBA, num_local_experts=0),
    "granite-hybrid-experts": variant(
        "granitemoehybrid", **MAMBA, num_local_experts=8, num_experts_per_tok=3
    ),
    "granite-hybrid-rope-and-one-group": variant(
        "granitemoehybrid",
        **{**MAMBA, "mamba_n_groups": 1, "mamba_conv_bias": False, "mamba_proj_bias": True},
        num_local_experts=0,
        position_embedding_type="rope",
    ),
    "bamba": family(
        "bamba",
        **{k: MAMBA[k] for k in MAMBA if k.startswith(("mamba", "rms", "init"))},
        attn_layer_indices=[1],
    ),
}
