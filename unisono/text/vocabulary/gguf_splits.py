"""Patterns by which byte-level vocabularies cut text into words before merging: of the families, by
the names that llama.cpp gives them (``tokenizer.ggml.pre``; ``src/llama-vocab.cpp`` there).

Where it rewrote a pattern for its own matcher, this is the one of the family's ``tokenizer.json``.
Not here, because it cuts by code of its own or its models are no decoders: ``afmoe``,
``whitespace``, ``roberta-bpe``, ``jina-v1-en``, ``jina-v2-code``.
"""

from __future__ import annotations

from dataclasses import dataclass

from unisono.text.vocabulary.split_patterns import (
    CONTRACTIONS,
    HAN_APART,
    LLAMA_3,
    MARKS_AND_SPACES,
    QWEN_2,
    SPACES,
    WORDS,
)


@dataclass(frozen=True, slots=True)
class Split:
    """Patterns that are applied one after the other, each to what the one before left whole."""

    patterns: tuple[str, ...]
    ignore_merges: bool = False
    """A word that is a token is that token, whether merges lead there or not."""
    adds_bos: bool = False
    """Default of a file that does not say whether a text begins with BOS."""
    composes: bool = False
    """Text is brought into Unicode's form NFC first, as transformers does for these families (and
    llama.cpp does not)."""


_GPT2 = (
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"  # Radford et al.
)
_QWEN35 = (
    rf"{CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}"
    rf"| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{SPACES}"
)
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"


def _cased(contractions: str, digits: str) -> str:
    """Words end where a capital follows a small letter."""
    before = r"[^\r\n\p{L}\p{N}]?"
    return (
        rf"{before}{_UPPER}*{_LOWER}+{contractions}|{before}{_UPPER}+{_LOWER}*{contractions}"
        rf"|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{SPACES}"
    )


def _deepseek(marks: str) -> str:
    """``marks``: how a run of punctuation and what lies between words end."""
    return (
        r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
        rf"| ?[\p{{P}}\p{{S}}]+{marks}|\s+(?!\S)|\s+"
    )


_CASED_LETTERS = (
    "A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫ"
    "ᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹ"
    "ℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃"
)
_CJK = "[一-龥぀-ゟ゠-ヿ]+"
_CHINESE_OR_KOREAN = "[一-龥ࠀ-一가-퟿]+"
_SCRIPTS_APART = rf"[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|{_CJK}"
_BY_THREE_FROM_THE_RIGHT = r"\d{1,3}(?=(?:\d{3})*\b)"
_BAILING = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*"
    r"|\s*[\r\n]|\s+(?!\S)|\s+"
)
_EXAONE_MOE = (
    rf"{CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?(?:\p{{L}}\p{{M}}*(?: \p{{L}}\p{{M}}*)*)+|\p{{N}}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+"
)
_SEED_CODER = rf"{WORDS}|\p{{N}}{{1}}| ?[^\s\p{{L}}\p{{N}}\r\n]+|{SPACES}"
_JAIS_2 = (
    rf"{WORDS}|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+"
    + "".join(rf"|\s{{{count}}}(?!\S)" for count in (512, 256, 128, 64, 32, 16, 8, 4))
    + r"|\s{1,2}(?!\S)|\s{1}"
)
_BLOOM = " ?[^(\\s|.,!?…。，、।۔،)]+"
_DIGIT = r"\p{N}"

_GPT4O = _cased(rf"{CONTRACTIONS}?", r"\p{N}{1,3}")
_DEEPSEEK_3 = (r"\p{N}{1,3}", _CJK, _deepseek(r"[\r\n]*|\s*[\r\n]+"))

_SAME = {
    Split((_GPT2,)): (
        *("gpt-2", "phi-2", "jais", "exaone4", "gigachat", "trillion"),
        *("granite-docling", "a.x-4.0", "mellum", "modern-bert"),
        *("jina-es", "jina-de", "jina-v2-es", "jina-v2-de"),
    ),
    Split((_GPT2,), composes=True): ("olmo", "mpt"),
    Split((LLAMA_3,), ignore_merges=True, adds_bos=True): (
        *("llama-bpe", "llama3", "llama-v3", "pixtral", "falcon3", "falcon-h1", "lfm2"),
        *("midm-2.0", "jina-v5-nano"),
    ),
    Split((LLAMA_3,)): ("dbrx", "smaug-bpe", "chatglm-bpe"),
    Split((LLAMA_3,), ignore_merges=True): ("glm4", "glm5"),
    Split((QWEN_2,), composes=True): ("qwen2", "f2llmv2", "hunyuan", "stablelm2"),
    Split((QWEN_2,)): (
        *("deepseek-r1-qwen", "megrez", "grok-2", "kormo"),
        "solar-open",
    ),
    Split(_DEEPSEEK_3): ("deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"),
    Split((_GPT4O,)): ("gpt-4o", "llama4", "kanana2", "minimax-m2", "talkie"),
    Split((_DIGIT, _GPT2)): (
        *("smollm", "starcoder", "refact", "codeshell", "exaone", "minerva-7b"),
        "mellum2",
    ),
    Split((_DIGIT, _GPT2), composes=True): ("command-r",),
    Split((_BAILING,)): ("bailingmoe", "bailingmoe2", "llada-moe"),
    Split((_BLOOM,)): ("bloom", "poro-chat", "gpt3-finnish"),
    Split((_BY_THREE_FROM_THE_RIGHT, _GPT4O), composes=True): ("tiny_aya", "cohere2moe"),
}
SPLITS = {
    **{name: split for split, names in _SAME.items() for name in names},
    "default": Split((r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", "[0-9][0-9][0-9]")),
    "qwen35": Split((_QWEN35,), composes=True),
    "deepseek-llm": Split(
        (
            *("[\r\n]", rf"\s?[{_CASED_LETTERS}]+", r"\s?[!-/:-~！-／：-～‘-‟　-。]+", r"\s+$"),
            *(_CHINESE_OR_KOREAN, r"\p{N}+"),
        )
    ),
    "deepseek-coder": Split(("[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _CHINESE_OR_KOREAN, _DIGIT)),
    "spark2_5": Split((r"\p{N}{1,3}", _CJK, _deepseek(r"|[\r\n]"), _DIGIT)),
    "youtu": Split((_SCRIPTS_APART, _cased(rf"{CONTRACTIONS}?", _DIGIT)), ignore_merges=True),
    "tekken": Split((_cased("", _DIGIT),), ignore_merges=True, adds_bos=True),
    "falcon": Split((r"[\p{P}\$\+<=>\^~\|`]+", _GPT2, "[0-9][0-9][0-9]")),
    "viking": Split((_BLOOM, _DIGIT)),
    "granite-embed-multi-97m": Split((_GPT4O,), ignore_merges=True),
    "minicpm5": Split((r"\p{N}{1,3}", rf"{WORDS}|\p{{N}}+|{MARKS_AND_SPACES}"), ignore_merges=True),
    "seed-coder": Split((_SEED_CODER,)),
    "exaone-moe": Split((_EXAONE_MOE,)),
    "jais-2": Split((_JAIS_2,)),
    "kimi-k2": Split((HAN_APART,)),
    "laguna": Split((r"[^\n]+|[\n]+", QWEN_2)),
    "superbpe": Split((r"\p{N}+", r"(?=(\d{3})+(?!\d))")),
    "ufakzeka": Split((rf"[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}|{MARKS_AND_SPACES}",)),
    "chameleon": Split(
        (
            *("<sentinel:[0-9]+>", "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z", r"([\t\n]|    |  )"),
            *(_DIGIT, r"[\p{P}!-/:-@\[-`{-~]", _GPT2),
        ),
        adds_bos=True,
    ),
}
MARKED_SPACES = frozenset({"gemma4", "granite-embed-multi-311m", "sarvam-moe"})
"""Names under which a vocabulary is written as sentencepiece does it, though its merges are given:
spaces as marks, and bytes for what has no token. Nothing is cut before merging."""
