"""Regular expressions that cut a text into the parts that byte pairs are merged in: what several
forms of vocabularies have in common. The published ones of Llama 3, Qwen 2 and Kimi, and their
pieces.
"""

from __future__ import annotations

CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
MARKS_AND_SPACES = rf" ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{SPACES}"
WORDS = rf"{CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+"
LLAMA_3 = rf"{WORDS}|\p{{N}}{{1,3}}|{MARKS_AND_SPACES}"
"""Up to three digits together."""
QWEN_2 = rf"{WORDS}|\p{{N}}|{MARKS_AND_SPACES}"
"""Each digit on its own."""
_UPPER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]"
_LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]"
HAN_APART = (
    r"[\p{Han}]+"
    rf"|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{CONTRACTIONS}?"
    rf"|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{CONTRACTIONS}?"
    rf"|\p{{N}}{{1,3}}|{MARKS_AND_SPACES}"
)
"""Chinese characters are never in one part with others."""
