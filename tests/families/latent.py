"""Decoders with latent attention."""

from __future__ import annotations

from typing import Any

from tests.families.case import Case, family, variant

SHAPE: dict[str, Any] = {
    "num_key_value_heads": 4,
    "q_lora_rank": 24,
    "kv_lora_rank": 32,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 8,
    "v_head_dim": 12,
}
DENSE: dict[str, Any] = {**SHAPE, "first_k_dense_replace": 3, "num_experts_per_tok": 2}
EXPERTS: dict[str, Any] = {
    **SHAPE,
    "num_hidden_layers": 2,
    "first_k_dense_replace": 1,
    "n_routed_experts": 8,
    "num_experts_per_tok": 3,
    "moe_intermediate_size": 16,
    "n_shared_experts": 2,
    "routed_scaling_factor": 1.7,
}
GROUPS = {"n_group": 4, "topk_group": 2}
YARN_ROPE = {
    "rope_type": "yarn",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "original_max_position_embeddings": 32,
    "mscale": 0.707,
    "mscale_all_dim": 1.3,
}
SPARSE: dict[str, Any] = {
    **EXPERTS,
    **GROUPS,
    "num_hidden_layers": 3,
    "mlp_layer_types": ["dense", "sparse", "sparse"],
    "index_topk": 11,
    "index_head_dim": 16,
    # So many that no score is exactly 0, of which transformers takes any.
    "index_n_heads": 24,
}

VISION = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}
MISTRAL4_ROPE = {**YARN_ROPE, "llama_4_scaling_beta": 0.4}
MISTRAL4: dict[str, Any] = {**EXPERTS, **GROUPS, "rope_parameters": MISTRAL4_ROPE}

CASES: dict[str, Case] = {
    "deepseek-v2": family("deepseek_v2", **EXPERTS, **GROUPS, topk_method="group_limited_greedy"),
    "deepseek-v2-lite": variant("deepseek_v2", **{**EXPERTS, "q_lora_rank": None}),
    "deepseek-v2-dense": variant("deepseek_v2", **DENSE, attention_bias=True, mlp_bias=True),
    "deepseek-v3": family("deepseek_v3", **EXPERTS, **GROUPS, rope_parameters=YARN_ROPE),
    "deepseek-v3-one-group": variant("deepseek_v3", **EXPERTS, n_group=1, topk_group=1),
    "deepseek-v3-not-normalized": variant(
        "deepseek_v3", **EXPERTS, **GROUPS, norm_topk_prob=False, rope_interleave=False
    ),
    "deepseek-v3-dense": variant("deepseek_v3", **DENSE, attention_bias=True),
    "deepseek-v3.2": family("deepseek_v32", **SPARSE),
    "glm-5": family("glm_moe_dsa", **SPARSE, indexer_types=["full", "shared", "full"]),
    "glm-5-every-layer": variant(
        "glm_moe_dsa",
        **{**SPARSE, "num_hidden_layers": 2, "mlp_layer_types": ["sparse", "dense"]},
        rope_parameters=YARN_ROPE,
    ),
    "glm-4.7-flash": family("glm4_moe_lite", **EXPERTS, rms_norm_eps=0.01),
    "kimi-k2.5": family(
        "kimi_k25",
        text_config={"model_type": "deepseek_v3", **EXPERTS, **GROUPS},
        vision_config={**VISION, "pos_emb_height": 4, "pos_emb_width": 4},
        tie_word_embeddings=False,
    ),
    "mistral4": family(
        "mistral3", text_config={"model_type": "mistral4", **MISTRAL4}, vision_config=VISION
    ),
    "minicpm3": family("minicpm3", **SHAPE, dim_model_base=32),
    "minicpm3-no-query-latent": variant(
        "minicpm3", **{**SHAPE, "q_lora_rank": None}, attention_bias=True, scale_depth=None
    ),
    "youtu": family("youtu", **SHAPE),
}
