"""Fields that clients of this and of other servers send, beyond those of ``request_schema``.

Two tables. ``NO_EFFECT``: whatever their value, the answer is the same. ``FEATURES``: they would
change the answer and are not there yet; each with the values that ask for nothing. Sources: the
schemas of OpenAI, vLLM, SGLang, llama.cpp, TGI, Ollama, Mistral, Groq, OpenRouter and Azure, and
what their client libraries add. Knows names and values only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

Body = dict[str, Any]


class Feature(NamedTuple):
    """The meaning of a field: what it asks for, when it asks for nothing, what to do instead."""

    name: str
    is_idle: Callable[[Any, Body], bool]
    """True where this value, in this body, changes nothing."""
    hint: str = ""


def _feature(name: str, *idle: Any, hint: str = "") -> Feature:
    """``idle``: the values that ask for nothing."""
    return Feature(name, lambda value, body: value in idle, hint)


_TEMPLATE_HINT = "Set it in chat_template_kwargs, if the model's chat template knows it."
_STRUCTURED = "A constraint that begins later"
_LEGACY_TOOLS = "Function calling by the old fields"
_SAMPLER = "This way of sampling"
_SPELLING = "This spelling"


def _says_text(value: Any, body: Body) -> bool:
    return isinstance(value, dict) and value.get("type") == "text"


def _calls_nothing(value: Any, body: Body) -> bool:
    return value == "none" or (value == "auto" and not body.get("functions"))


def _is_n(value: Any, body: Body) -> bool:
    return bool(value == (body.get("n") or 1))


def _has_no_penalty(value: Any, body: Body) -> bool:
    return value == -1 or (
        not body.get("presence_penalty")
        and not body.get("frequency_penalty")
        and body.get("repetition_penalty") in (None, 1)
    )


FEATURES: dict[str, Feature] = {
    # constraints on the answer
    "grammar_lazy": _feature(_STRUCTURED, False),
    "grammar_triggers": _feature(_STRUCTURED, []),
    "bad_words": _feature("Forbidding words", []),
    "logits_processors": _feature("Custom processors of logits", []),
    "custom_logit_processor": _feature("Custom processors of logits", "", []),
    "custom_params": _feature("Custom processors of logits", {}),
    "vllm_xargs": _feature("Custom extensions", {}),
    "watermarking": _feature("Watermarks", False),
    "safe_prompt": _feature("A safety prompt", False),
    # tools
    "functions": _feature(_LEGACY_TOOLS, [], hint="Send tools instead."),
    "function_call": Feature(_LEGACY_TOOLS, _calls_nothing, "Send tool_choice instead."),
    "tool_prompt": _feature("A prompt for tools", ""),
    "web_search_options": _feature("Web search"),
    "enable_search": _feature("Web search", False),
    "search_parameters": _feature("Web search"),
    "data_sources": _feature("Data sources", []),
    "file_ids": _feature("Files", []),
    "plugins": _feature("Plugins", []),
    "mcp_servers": _feature("MCP servers", []),
    # reasoning
    "reasoning": _feature("Reasoning options", {}, hint=_TEMPLATE_HINT),
    "reasoning_budget": _feature("A budget of reasoning", -1),
    "thinking_budget": _feature("A budget of reasoning", -1, hint=_TEMPLATE_HINT),
    "thinking_budget_tokens": _feature("A budget of reasoning", -1),
    "thinking_token_budget": _feature("A budget of reasoning", -1),
    "think": _feature("Switching thinking", hint=_TEMPLATE_HINT),
    "thinking": _feature("Switching thinking", hint=_TEMPLATE_HINT),
    "prompt_mode": _feature("A prompt mode"),
    "verbosity": _feature("Verbosity", "medium"),
    # other media, other models
    "audio": _feature("Audio"),
    "modalities": _feature("Any output other than text", ["text"], []),
    "images": _feature("Images", []),
    "image_data": _feature("Images", "", []),
    "prompt_embeds": _feature("Prompts as embeddings", "", []),
    "multimodal_data": _feature("Images", "", []),
    "lora": _feature("Choosing adapters", [], {}),
    "lora_path": _feature("Choosing adapters", "", []),
    "adapter_id": _feature("Choosing adapters", ""),
    "moderation": _feature("Moderation"),
    # the prompt
    "system": _feature("A system prompt as a field", "", [], hint="Send a system message."),
    "template": _feature("A template of the client", ""),
    "chat_template": _feature("A template of the client", ""),
    "add_special_tokens": _feature(
        "Special tokens around a chat", False, hint="The chat template sets them."
    ),
    "echo": _feature("Echo of a chat", False),
    "context": _feature("A context of token ids", []),
    "raw": _feature("A raw prompt", False, hint="Use /v1/completions."),
    "input_ids": _feature(
        "Token ids for a chat", [], hint="Send them as prompt to /v1/completions."
    ),
    "input_prefix": _feature("Filling in", ""),
    "input_suffix": _feature("Filling in", ""),
    "input_extra": _feature("Filling in", []),
    "transforms": _feature("Transforming prompts", []),
    "session_params": _feature("Sessions", {}),
    "kv_transfer_params": _feature("Moving caches between servers", {}),
    "ec_transfer_params": _feature("Moving caches between servers", {}),
    # sampling
    "best_of": Feature("best_of other than n", _is_n),
    "use_beam_search": _feature("Beam search", False),
    "num_beams": _feature("Beam search", 1),
    "typical_p": _feature(_SAMPLER, 1),
    "tfs_z": _feature(_SAMPLER, 1),
    "top_a": _feature(_SAMPLER, 0),
    "top_n_sigma": _feature(_SAMPLER, -1, 0),
    "mirostat": _feature(_SAMPLER, 0),
    "mirostat_mode": _feature(_SAMPLER, 0),
    "dynatemp_range": _feature(_SAMPLER, 0),
    "xtc_probability": _feature(_SAMPLER, 0),
    "dry_multiplier": _feature(_SAMPLER, 0),
    "adaptive_target": _feature(_SAMPLER, -1),
    "samplers": _feature("An order of samplers", []),
    "min_keep": _feature(_SAMPLER, 0, 1),
    "do_sample": _feature(_SPELLING, True, hint="Send temperature 0 for the likeliest tokens."),
    "repeat_penalty": _feature(_SPELLING, 1, hint="Send repetition_penalty."),
    "repeat_last_n": Feature("A window of penalties", _has_no_penalty),
    "encoder_repetition_penalty": _feature(_SAMPLER, 1),
    "no_repeat_ngram_size": _feature(_SAMPLER, 0),
    "repetition_detection": _feature("Ending repetitions", {}),
    "random_seed": _feature(_SPELLING, hint="Send seed."),
    "sampling_seed": _feature(_SPELLING, hint="Send seed."),
    "extra_body": _feature(_SPELLING, {}, hint="Send its entries as fields of the body."),
    "options": _feature(_SPELLING, {}, hint="Send its entries as fields of the body."),
    # the end of the answer
    "max_new_tokens": _feature(_SPELLING, hint="Send max_tokens."),
    "n_predict": _feature(_SPELLING, -1, hint="Send max_tokens."),
    "num_predict": _feature(_SPELLING, -1, hint="Send max_tokens."),
    "stop_sequences": _feature(_SPELLING, [], hint="Send stop."),
    "stop_regex": _feature("Stopping at an expression", "", []),
    "no_stop_trim": _feature(_SPELLING, False, hint="Send include_stop_str_in_output."),
    "t_max_predict_ms": _feature("A limit of time", 0, -1),
    "n_indent": _feature("Stopping at an indent", 0),
    "deferred": _feature("Answers to be fetched later", False),
    # what is told beside the text
    "n_probs": _feature(_SPELLING, 0, hint="Send logprobs and top_logprobs."),
    "post_sampling_probs": _feature("Probabilities after sampling", False),
    "logprob_token_ids": _feature("Log-probabilities of chosen tokens", []),
    "logprob_start_len": _feature("Log-probabilities from a position on", -1),
    "return_hidden_states": _feature("Hidden states", False),
    "return_routed_experts": _feature("Routed experts", False),
    "return_tokens": _feature(_SPELLING, False, hint="Send return_token_ids."),
    "return_prompt_token_ids": _feature(_SPELLING, False, hint="Send return_token_ids."),
    "return_prompt_text": _feature("The prompt's text", False),
    "return_meta_info": _feature("Meta information", False),
}

MESSAGE_FEATURES: dict[str, Feature] = {
    "audio": _feature("Audio"),
    "function_call": _feature(_LEGACY_TOOLS, {}, hint="Send tool_calls instead."),
    "images": _feature("Images", []),
    "prefix": _feature(
        "Going on with a message", False, hint="Send continue_final_message in the body."
    ),
    "partial": _feature(
        "Going on with a message", False, hint="Send continue_final_message in the body."
    ),
    "tools": _feature("Tools of a message", [], hint="Send tools in the body."),
}

NO_EFFECT = frozenset(
    {
        # who asks, and for what
        *("user", "metadata", "safety_identifier", "user_security_context", "request_id", "rid"),
        *("session_id", "conversation_id", "custom_labels", "tags", "trace", "store"),
        # how soon and where it is computed
        *("service_tier", "prediction", "prompt_cache_key", "prompt_cache_retention"),
        *("prompt_cache_options", "cache_prompt", "cache_control", "extra_key", "keep_alive"),
        *("id_slot", "slot_id", "n_keep", "n_discard", "n_cache_reuse", "speculative"),
        *("bootstrap_host", "bootstrap_port", "bootstrap_room", "data_parallel_rank"),
        *("routed_dp_rank", "disagg_prefill_dp_rank", "ngram_corpus_id", "backend_sampling"),
        *("provider", "models", "route", "fallbacks", "sse_ping_interval"),
        # settings of features that are refused where they are switched on
        *("guided_decoding_backend", "guided_whitespace_pattern", "length_penalty"),
        *("early_stopping", "mirostat_tau", "mirostat_eta", "dynatemp_exponent"),
        *("xtc_threshold", "dry_base", "dry_allowed_length", "dry_penalty_last_n"),
        *("dry_sequence_breakers", "adaptive_decay", "penalize_nl", "penalty_prompt"),
        *("stream_reasoning", "reasoning_in_content", "parse_tool_calls", "thinking_forced_open"),
        *("media_io_kwargs", "mm_processor_kwargs", "max_dynamic_patch", "min_dynamic_patch"),
        *("use_audio_in_video", "images_config", "return_mm_kwargs", "return_token_offsets"),
        *("routed_experts_start_len", "routed_experts_prompt_start"),
        # forms of the response that leave the answer alone
        *("spaces_between_special_tokens", "timings_per_token", "return_progress", "verbose"),
        *("response_fields", "return_cached_tokens_details", "usage", "stream_include_usage"),
        "stream_interval",
    }
)
