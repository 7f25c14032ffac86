"""Makes the wording as careless as real messages are. Only wording: entity values stay intact."""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random

from .entities import COMMON_CHARACTERS, invented_word

_TYPO_RATE = 0.06
_HARSH_RATE = 0.2
_GAP_RATE = 0.12
_STRANGE_RATE = 0.08
_UNIT = re.compile(r"[A-Za-z']+ |[\u4e00-\u9fff]")
_INNER_UNIT = re.compile(r"(?:[A-Za-z']+ |[\u4e00-\u9fff])(?=[A-Za-z\u4e00-\u9fff])")
_NEGATIONS = frozenset({"not", "no", "never", "nobody", "without", "不", "没", "无", "别", "未"})
_WORD = re.compile(r"[A-Za-z]{4,}")
_CHINESE_MARKS = re.compile(r"[，。！？]")

Noise = Callable[[str], str]


def _misspell(word: str, rng: Random) -> str:
    at = rng.randrange(1, len(word) - 1)
    swapped = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return rng.choice((swapped, word[:at] + word[at + 1 :], word[:at] + word[at] + word[at:]))


def _typos(rng: Random) -> Noise:
    def maybe(match: re.Match[str]) -> str:
        return _misspell(match[0], rng) if rng.random() < _TYPO_RATE else match[0]

    return lambda text: _WORD.sub(maybe, text)


def _gaps(rng: Random) -> Noise:
    """Drops some words (Chinese: characters): what is left must do."""

    def keep(match: re.Match[str]) -> str:
        if match[0].strip().lower() in _NEGATIONS:
            return match[0]
        return "" if rng.random() < _GAP_RATE else match[0]

    return lambda text: _UNIT.sub(keep, text)


def _strange_words(rng: Random) -> Noise:
    """Puts unknown words between the known ones, but never beside a value."""

    def extend(match: re.Match[str]) -> str:
        if rng.random() >= _STRANGE_RATE:
            return match[0]
        if match[0].isascii():
            return f"{match[0]}{invented_word(rng)} "
        return match[0] + rng.choice(COMMON_CHARACTERS)

    return lambda text: _INNER_UNIT.sub(extend, text)


def _unpunctuated(text: str) -> str:
    return re.sub(r"[.,!?](?=\s|$)", "", text)


def _plain(text: str) -> str:
    return text


def _english(rng: Random) -> Noise:
    habits = (_plain, _typos(rng), str.lower, _unpunctuated, str.upper)
    return rng.choices(habits, (58, 18, 16, 7, 1))[0]


def _chinese(rng: Random) -> Noise:
    def spaced(text: str) -> str:
        return _CHINESE_MARKS.sub(" ", text)

    def halfwidth(text: str) -> str:
        return text.replace("，", ",").replace("。", ".").replace("！", "!").replace("？", "?")

    def bare(text: str) -> str:
        return text.replace("。", "，")

    return rng.choices((_plain, spaced, halfwidth, bare), (70, 10, 10, 10))[0]


def choose_noise(rng: Random, language: str, *, harsh: bool) -> Noise:
    """One habit of writing, applied to the whole message.

    `harsh` sometimes gives a message gaps or unknown words instead: it hardens the training, and
    is unfit for judging, because what decides the answer may be gone.
    """
    if harsh and rng.random() < _HARSH_RATE:
        return rng.choice((_gaps, _strange_words))(rng)
    return _english(rng) if language == "en" else _chinese(rng)
