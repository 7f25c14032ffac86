"""Mixtures of experts."""

from __future__ import annotations

from typing import Any

from tests.families.case import Case, family, variant

GRANITE: dict[str, Any] = {
    "embedding_multiplier": 3.0,
    "attention_multiplier": 0.2,
    "residual_multiplier": 0.4,
    "logits_scaling": 2.0,
}
EIGHT: dict[str, Any] = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
LOCAL: dict[str, Any] = {"num_local_experts": 8, "num_experts_per_tok": 2, "intermediate_size": 24}
LLAMA4: dict[str, Any] = {
    **LOCAL,
    "num_experts_per_tok": 1,
    "intermediate_size_mlp": 40,
    "head_dim": 16,
    "attention_chunk_size": 16,
    "no_rope_layers": [1, 0, 1],
    "floor_scale": 8,
    "attn_scale": 0.3,
}
ROUTED: dict[str, Any] = {
    "n_routed_experts": 8,
    "num_experts_per_tok": 3,
    "moe_intermediate_size": 24,
    "n_shared_experts": 2,
    "first_k_dense_replace": 1,
    "routed_scaling_factor": 1.7,
}
GROUPS: dict[str, Any] = {"n_group": 4, "topk_group": 2}
GPT_OSS_ROPE = {
    "rope_type": "yarn",
    "rope_theta": 150000.0,
    "factor": 8.0,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "truncate": False,
    "original_max_position_embeddings": 32,
}

CASES: dict[str, Case] = {
    "qwen3-moe": family("qwen3_moe", **EIGHT, head_dim=32, norm_topk_prob=True),
    "qwen3-moe-not-normalized": variant("qwen3_moe", **EIGHT, head_dim=16),
    "qwen3-moe-dense-layers": variant(
        "qwen3_moe", **EIGHT, head_dim=16, decoder_sparse_step=2, mlp_only_layers=[1]
    ),
    "qwen2-moe": family("qwen2_moe", **EIGHT, shared_expert_intermediate_size=40),
    "mixtral": family("mixtral", **LOCAL),
    "gpt-oss": family(
        "gpt_oss", **LOCAL, head_dim=32, sliding_window=9, rope_parameters=GPT_OSS_ROPE
    ),
    "glm4-moe": family("glm4_moe", **ROUTED, head_dim=16, use_qk_norm=True, attention_bias=True),
    "glm4-moe-groups": variant("glm4_moe", **ROUTED, **GROUPS, head_dim=32),
    "minimax-m2": family("minimax_m2", **LOCAL, head_dim=32, rotary_dim=16),
    "dots1": family("dots1", **ROUTED, head_dim=16, sliding_window=None, norm_topk_prob=True),
    "solar-open": family("solar_open", **ROUTED, head_dim=16),
    "ernie4.5-moe": family(
        "ernie4_5_moe",
        moe_num_experts=8,
        moe_k=3,
        moe_intermediate_size=24,
        moe_num_shared_experts=2,
    ),
    "ernie4.5-moe-no-shared": variant(
        "ernie4_5_moe",
        moe_num_experts=8,
        moe_k=3,
        moe_intermediate_size=24,
        moe_num_shared_experts=0,
        moe_layer_interval=2,
    ),
    "olmoe": family("olmoe", num_experts=8, num_experts_per_tok=2, norm_topk_prob=True),
    "flex-olmo": family("flex_olmo", num_experts=8, num_experts_per_tok=2),
    "granite-moe-shared": family(
        "granitemoeshared", **LOCAL, **GRANITE, shared_intermediate_size=40
    ),
    "exaone-moe": family(
        "exaone_moe", **EIGHT, sliding_window=9, sliding_window_pattern=3, num_shared_experts=2
    ),
    "hunyuan-moe": family("hunyuan_v1_moe", num_experts=8, moe_topk=2, head_dim=16),
    "afmoe": family(
        "afmoe",
        **EIGHT,
        head_dim=16,
        sliding_window=9,
        global_attn_every_n_layers=3,
        route_scale=1.3,
        mup_enabled=True,
    ),
    "qwen3-vl-moe": family(
        "qwen3_vl_moe",
        text_config={**EIGHT, "head_dim": 16, "mlp_only_layers": [1]},
        vision_config={
            "depth": 1,
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_heads": 2,
            "out_hidden_size": 64,
            "deepstack_visual_indexes": [0],
        },
    ),
    "llama4": family("llama4_text", **LLAMA4),
    "llama4-two-experts": variant(
        "llama4_text",
        **{**LLAMA4, "num_experts_per_tok": 2},
        use_qk_norm=False,
        interleave_moe_layer_step=2,
    ),
}
