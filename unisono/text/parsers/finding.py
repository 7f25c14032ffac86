"""The format of a model's answers, found from its chat templates."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain

from unisono.core.errors import ConfigError
from unisono.text.parsers.answer_format import AnswerFormat, Pair
from unisono.text.parsers.formats.deepseek import DeepSeek
from unisono.text.parsers.formats.dsml import DeepSeekV4, DeepSeekV32
from unisono.text.parsers.formats.functionary import Functionary31, Functionary32
from unisono.text.parsers.formats.gemma import FunctionGemma, Gemma4
from unisono.text.parsers.formats.general import General
from unisono.text.parsers.formats.glm import Glm
from unisono.text.parsers.formats.harmony import Harmony
from unisono.text.parsers.formats.hermes import Hermes
from unisono.text.parsers.formats.hy3 import Hy3, Hy3OpenSource
from unisono.text.parsers.formats.json_lists import CommandRPlus, Functools, JsonLists
from unisono.text.parsers.formats.kimi_k2 import KimiK2
from unisono.text.parsers.formats.kimi_k3 import KimiK3
from unisono.text.parsers.formats.minicpm5 import MiniCpm5
from unisono.text.parsers.formats.minimax_m3 import MiniMaxM3
from unisono.text.parsers.formats.mistral import Mistral
from unisono.text.parsers.formats.muse import Muse
from unisono.text.parsers.formats.pythonic import Lfm2, Llama, Olmo3
from unisono.text.parsers.formats.solar import Solar
from unisono.text.parsers.formats.tagged import MiniMaxM2, Qwen3Coder, SeedOss
from unisono.text.tokenizer import Tokenizer

FORMATS: tuple[type[AnswerFormat], ...] = (
    Harmony,
    Muse,
    KimiK3,
    KimiK2,
    Solar,
    MiniMaxM3,
    MiniMaxM2,
    DeepSeekV4,
    DeepSeekV32,
    DeepSeek,
    MiniCpm5,
    Hy3OpenSource,
    Hy3,
    SeedOss,
    Gemma4,
    FunctionGemma,
    Lfm2,
    Olmo3,
    Glm,
    Qwen3Coder,
    Functionary32,
    Functionary31,
    Functools,
    Mistral,
    JsonLists,
    CommandRPlus,
    Hermes,
    Llama,
    General,
)
"""The first that fits a template is taken: those with the more telling marks come first."""
_BY_TOKEN: dict[str, type[AnswerFormat]] = {
    "<|tool_calls_section_begin|>": KimiK2,
    "<｜tool▁calls▁begin｜>": DeepSeek,
    "<arg_key>": Glm,
    "<tool_call>": Hermes,
    "[TOOL_CALLS]": Mistral,
    "<|tool_call>": Gemma4,
    "<start_function_call>": FunctionGemma,
    "<|tool_call_start|>": Lfm2,
    "<|tool_call|>": JsonLists,
    "<|START_ACTION|>": JsonLists,
    "<|python_tag|>": Llama,
    "<|python_start|>": Llama,
}
"""Formats by a token that a vocabulary has for them."""
_THINKING = (
    Pair("<think>", "</think>"),
    Pair("[THINK]", "[/THINK]"),
    Pair("<seed:think>", "</seed:think>"),
    Pair("<thought>", "</thought>"),
    Pair("◁think▷", "◁/think▷"),
    Pair("<|START_THINKING|>", "<|END_THINKING|>"),
    Pair("<|inner_prefix|>", "<|inner_suffix|>"),
    Pair("Here is my thought process:", "Here is my response:"),
    Pair("Here are my reasoning steps:", "[BEGIN FINAL RESPONSE]"),
)
_SPEAKING = (
    Pair("<response>", "</response>"),
    Pair("<answer>", "</answer>"),
    Pair("<|START_RESPONSE|>", "<|END_RESPONSE|>"),
    Pair("<|START_TEXT|>", "<|END_TEXT|>"),
    Pair("[BEGIN FINAL RESPONSE]", "[END FINAL RESPONSE]"),
)


def find_format(tokenizer: Tokenizer, name: str = "auto") -> AnswerFormat:
    """Args:
        name: a format's own name, or ``auto``.

    Raises:
        ConfigError: there is no such format.
    """
    templates = tuple(tokenizer.chat_templates.values())
    kind = _fitting(tokenizer, templates) if name == "auto" else format_named(name)
    return kind(
        kind.own_thinking or _first(_THINKING, templates),
        kind.own_speaking or _first(_SPEAKING, templates),
    )


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


def _fitting(tokenizer: Tokenizer, templates: Sequence[str]) -> type[AnswerFormat]:
    """By the templates, or else by the vocabulary: marks have tokens where a model writes them."""
    fitting = (kind for kind in FORMATS if any(kind.fits(template) for template in templates))
    known = (kind for mark, kind in _BY_TOKEN.items() if tokenizer.token_id(mark) is not None)
    return next(chain(fitting, known), General)


def _first(pairs: Iterable[Pair], templates: Iterable[str]) -> Pair | None:
    """The first whose end a template writes, or cuts out of an earlier answer."""
    text = "".join(templates)
    return next((pair for pair in pairs if pair.closes in text), None)
