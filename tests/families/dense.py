"""Dense decoders."""

from __future__ import annotations

from typing import Any

from tests.families.case import Case, family, variant

LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
YARN_ROPE = {
    "rope_type": "yarn",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 64,
}
LINEAR_ROPE = {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}
WINDOWED: dict[str, Any] = {"use_sliding_window": True, "sliding_window": 7}
GRANITE = {
    "embedding_multiplier": 3.0,
    "attention_multiplier": 0.2,
    "residual_multiplier": 0.4,
    "logits_scaling": 2.0,
}
MINISTRAL3_ROPE = {
    **YARN_ROPE,
    "original_max_position_embeddings": 16,
    "mscale": 1.0,
    "mscale_all_dim": 1.0,
    "llama_4_scaling_beta": 0.3,
}
LOCAL_FIRST = ["sliding_attention", "sliding_attention", "full_attention"]
LONG_ROPE = {
    "rope_type": "longrope",
    "rope_theta": 1e4,
    "short_factor": [1.0 + 0.1 * i for i in range(8)],
    "long_factor": [2.0 + 0.7 * i for i in range(8)],
}
GEMMA4 = {
    "num_hidden_layers": 5,
    "layer_types": ["sliding_attention", "full_attention"] * 2 + ["full_attention"],
    "sliding_window": 9,
    "head_dim": 16,
    "global_head_dim": 32,
}
PER_LAYER = {"hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": 512}
HALF_ROPE = {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}
ALPHA_ROPE = {"rope_type": "dynamic", "rope_theta": 1e4, "alpha": 50.0, "factor": 1.0}
VISION = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "head_dim": 16,
    "image_size": 28,
    "patch_size": 14,
}
GEMMA3 = {"head_dim": 32, "sliding_window": 9, "layer_types": LOCAL_FIRST}
MISTRAL = {"model_type": "mistral", "head_dim": 16, "sliding_window": None}
MISTRAL_GROWTH = {**MISTRAL, "rope_parameters": MINISTRAL3_ROPE}
MINISTRAL3 = {"model_type": "ministral3", "head_dim": 16, "rope_parameters": MINISTRAL3_ROPE}

CASES: dict[str, Case] = {
    "llama": family("llama"),
    "llama-tied": variant("llama", tie_word_embeddings=True),
    "llama-biases": variant("llama", attention_bias=True, mlp_bias=True),
    "llama-multi-head": variant("llama", num_key_value_heads=4),
    "llama-one-kv-head": variant("llama", num_key_value_heads=1),
    "llama-head-dim": variant("llama", head_dim=24),
    "llama-theta": variant("llama", rope_theta=500000.0),
    "llama-rope-llama3": variant("llama", rope_parameters=LLAMA3_ROPE),
    "llama-rope-linear": variant("llama", rope_parameters=LINEAR_ROPE),
    "llama-rope-yarn": variant("llama", rope_parameters=YARN_ROPE),
    "llama-norm-eps": variant("llama", rms_norm_eps=0.1),
    "qwen2": family("qwen2"),
    "qwen2-tied": variant("qwen2", tie_word_embeddings=True),
    "qwen2-window-upper": family("qwen2", **WINDOWED, max_window_layers=1),
    "qwen2-window-all": variant("qwen2", **WINDOWED, max_window_layers=0),
    "qwen2-rope-yarn": variant("qwen2", rope_parameters=YARN_ROPE),
    "qwen3": family("qwen3", head_dim=32),
    "qwen3-tied": variant("qwen3", head_dim=16, tie_word_embeddings=True),
    "qwen3-bias": variant("qwen3", head_dim=32, attention_bias=True),
    "qwen3-window-upper": variant("qwen3", head_dim=16, **WINDOWED, max_window_layers=2),
    "mistral": family("mistral", sliding_window=9),
    "mistral-window-of-block": family("mistral", sliding_window=4),
    "mistral-no-window": variant("mistral", sliding_window=None),
    "mistral-head-dim": variant("mistral", sliding_window=8, head_dim=32),
    "gemma": family("gemma", head_dim=32),
    "gemma2": family("gemma2", head_dim=32, sliding_window=9, query_pre_attn_scalar=24),
    "gemma3": family("gemma3_text", head_dim=32, sliding_window=9, layer_types=LOCAL_FIRST),
    "olmo2": family("olmo2"),
    "olmo3": family("olmo3", sliding_window=9, layer_types=LOCAL_FIRST),
    "cohere2": family("cohere2", sliding_window=9, layer_types=LOCAL_FIRST, logit_scale=0.3),
    "granite": family("granite", **GRANITE),
    "smollm3": family("smollm3", no_rope_layer_interval=2),
    "smollm3-window": variant(
        "smollm3", no_rope_layer_interval=2, use_sliding_window=True, sliding_window=9
    ),
    "exaone4": family("exaone4", sliding_window=9, sliding_window_pattern=3),
    "exaone4-no-window": variant(
        "exaone4", sliding_window=None, layer_types=["full_attention"] * 3
    ),
    "seed-oss": family("seed_oss", head_dim=32, max_position_embeddings=256),
    "seed-oss-biases": variant(
        "seed_oss", head_dim=16, attention_bias=False, attention_out_bias=True, mlp_bias=True
    ),
    "ernie4.5": family("ernie4_5", head_dim=32),
    "ernie4.5-bias": variant("ernie4_5", head_dim=16, use_bias=True),
    "helium": family("helium", head_dim=16),
    "arcee": family("arcee"),
    "nemotron": family("nemotron"),
    "internlm3": variant("internlm3", head_dim=16),
    "ministral": family("ministral", head_dim=16, sliding_window=9, layer_types=LOCAL_FIRST),
    "ministral3": family("ministral3", head_dim=16, rope_parameters=MINISTRAL3_ROPE),
    "cohere": family("cohere", logit_scale=0.3),
    "glm": family("glm", head_dim=16),
    "glm4": family("glm4", head_dim=16),
    "phi3": variant("phi3"),
    "phi3-longrope": family("phi3", rope_parameters=LONG_ROPE, original_max_position_embeddings=48),
    "phi3-window": variant("phi3", sliding_window=9, rope_parameters=HALF_ROPE),
    "starcoder2": family("starcoder2", sliding_window=9),
    "starcoder2-no-bias": variant("starcoder2", use_bias=False),
    "hunyuan-v1-dense": family("hunyuan_v1_dense", head_dim=32),
    "hunyuan-v1-dense-alpha": variant("hunyuan_v1_dense", head_dim=16, rope_parameters=ALPHA_ROPE),
    "apertus": family("apertus"),
    "gemma3-multimodal": family("gemma3", text_config=GEMMA3, vision_config=VISION),
    "mistral3": variant("mistral3", text_config=MISTRAL, vision_config=VISION),
    "mistral3-growth": variant("mistral3", text_config=MISTRAL_GROWTH, vision_config=VISION),
    "mistral3-ministral3": variant("mistral3", text_config=MINISTRAL3, vision_config=VISION),
    "gemma4": family("gemma4_text", **GEMMA4, **PER_LAYER, num_kv_shared_layers=2),
    "gemma4-wide": variant(
        "gemma4_text", **GEMMA4, **PER_LAYER, num_kv_shared_layers=2, use_double_wide_mlp=True
    ),
    "gemma4-experts": family(
        "gemma4_text",
        **GEMMA4,
        hidden_size_per_layer_input=0,
        enable_moe_block=True,
        num_experts=8,
        top_k_experts=2,
        moe_intermediate_size=24,
    ),
    "gemma4-large": variant(
        "gemma4_text",
        **GEMMA4,
        hidden_size_per_layer_input=0,
        attention_k_eq_v=True,
        num_key_value_heads=4,
        num_global_key_value_heads=2,
        final_logit_softcapping=20.0,
    ),
    "jais2": family("jais2"),
    "stablelm": family("stablelm", use_qkv_bias=True),
    "phi": family("phi"),
    "hyperclovax": family("hyperclovax", **GRANITE),
    "vaultgemma": family("vaultgemma", head_dim=32, sliding_window=9, query_pre_attn_scalar=24),
}
