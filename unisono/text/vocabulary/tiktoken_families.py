"""Patterns by which families with tiktoken vocabularies cut a text before bytes are merged.

A tiktoken file holds tokens and ranks alone. The rest is in the code of each checkpoint, which is
never run: here is what the families' published code says, by the name of its tokenizer class, or
by ``model_type`` where a checkpoint names no class. A new family is an entry here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from unisono.text.vocabulary.split_patterns import HAN_APART, LLAMA_3, QWEN_2


@dataclass(frozen=True, kw_only=True, slots=True)
class TiktokenFamily:
    pattern: str
    """A regular expression: its matches are the parts of a text that are merged on their own."""
    composes: bool = False
    """A text is brought to Unicode's form NFC first."""
    special: tuple[str, ...] = ()
    """Special tokens behind the ranks, where the config does not list them."""
    in_front: tuple[str, ...] = ()
    """Special tokens in front of every text, unless the config says otherwise."""
    named: Mapping[str, str] = field(default_factory=dict)
    """``bos_token`` and its kind, where the config does not name them."""
    counts_ranks: bool = False
    """A rank is the place in the file, not counting repeated tokens; what the file says is not."""


_EXTRAS = tuple(f"<|extra_{index}|>" for index in range(205))
_QWEN = TiktokenFamily(
    pattern=QWEN_2,
    composes=True,
    special=("<|endoftext|>", "<|im_start|>", "<|im_end|>", *_EXTRAS),
)
_HUNYUAN = TiktokenFamily(
    pattern=QWEN_2,
    composes=True,
    special=(
        *("<|endoftext|>", "<|startoftext|>", "<|bos|>", "<|eos|>", "<|pad|>"),
        *_EXTRAS,
    ),
    counts_ranks=True,
)
_LLAMA_3 = TiktokenFamily(
    pattern=LLAMA_3,
    special=(
        *("<|begin_of_text|>", "<|end_of_text|>"),
        *("<|reserved_special_token_0|>", "<|reserved_special_token_1|>"),
        *("<|finetune_right_pad_id|>", "<|step_id|>"),
        *("<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>", "<|python_tag|>"),
        *(f"<|reserved_special_token_{index}|>" for index in range(2, 247)),
    ),
    in_front=("<|begin_of_text|>",),
    named={"bos_token": "<|begin_of_text|>", "eos_token": "<|end_of_text|>"},
)
_GLM_4 = TiktokenFamily(pattern=LLAMA_3, in_front=("[gMASK]", "<sop>"))
_KIMI = TiktokenFamily(pattern=HAN_APART)

_BY_CLASS = {
    "QWenTokenizer": _QWEN,
    "HYTokenizer": _HUNYUAN,
    "ChatGLM4Tokenizer": _GLM_4,
    "TikTokenTokenizer": _KIMI,
}
_BY_MODEL_TYPE = {
    "qwen": _QWEN,
    "hunyuan": _HUNYUAN,
    "hunyuan_v1_dense": _HUNYUAN,
    "hunyuan_v1_moe": _HUNYUAN,
    "llama": _LLAMA_3,
    "mllama": _LLAMA_3,
    "chatglm": _GLM_4,
    "kimi_k2": _KIMI,
    "kimi_k25": _KIMI,
    "kimi_linear": _KIMI,
    "kimi_vl": _KIMI,
}


def find_family(tokenizer_class: Any, model_type: Any) -> TiktokenFamily | None:
    """The entry of a class, or else of a model type; ``None`` where neither is known."""
    by_class = _BY_CLASS.get(str(tokenizer_class).removesuffix("Fast"))
    return by_class or _BY_MODEL_TYPE.get(str(model_type))
