"""The format of a model's answers, found from its chat templates."""

from __future__ import annotations

from collections.abc import Iterable

from unisono.core.errors import ConfigError
from unisono.text.parsers.answer_format import AnswerFormat, Thinking
from unisono.text.parsers.formats.deepseek import DeepSeek
from unisono.text.parsers.formats.glm import Glm
from unisono.text.parsers.formats.hermes import Hermes
from unisono.text.parsers.formats.json_lists import JsonLists
from unisono.text.parsers.formats.kimi_k2 import KimiK2
from unisono.text.parsers.formats.mistral import Mistral
from unisono.text.parsers.formats.tagged import (
    DeepSeekV4,
    DeepSeekV32,
    MiniMaxM2,
    Qwen3Coder,
    SeedOss,
)
from unisono.text.tokenizer import Tokenizer

FORMATS: tuple[type[AnswerFormat], ...] = (
    DeepSeekV4,
    DeepSeekV32,
    DeepSeek,
    KimiK2,
    MiniMaxM2,
    SeedOss,
    Glm,
    Qwen3Coder,
    Mistral,
    JsonLists,
    Hermes,
)
"""The first that fits a template is taken: those with the more telling marks come first."""
_THINKING = (
    Thinking("<think>", "</think>"),
    Thinking("[THINK]", "[/THINK]"),
    Thinking("<seed:think>", "</seed:think>"),
    Thinking("<|START_THINKING|>", "<|END_THINKING|>"),
    Thinking("<|channel>thought\n", "<channel|>"),
)


def find_format(tokenizer: Tokenizer, name: str = "auto") -> AnswerFormat:
    """Args:
        name: a format's own name, or ``auto``.

    Raises:
        ConfigError: there is no such format.
    """
    templates = tuple(tokenizer.chat_templates.values())
    thinking = _thinking(templates)
    if name != "auto":
        return format_named(name)(thinking)
    fitting = (kind for kind in FORMATS if any(kind.fits(template) for template in templates))
    return next(fitting, Hermes)(thinking)


def format_named(name: str) -> type[AnswerFormat]:
    """Raises:
    ConfigError: there is no such format.
    """
    known = {kind.name: kind for kind in FORMATS}
    if name not in known:
        raise ConfigError(
            f"There is no tool format {name!r}.", hint=f"Take auto, {', '.join(sorted(known))}."
        )
    return known[name]


def _thinking(templates: Iterable[str]) -> Thinking | None:
    """Marks that a template writes, or cuts out of an earlier answer."""
    text = "".join(templates)
    return next((one for one in _THINKING if one.closes in text), None)
