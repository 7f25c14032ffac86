"""OpenAI's harmony, of gpt-oss.

https://github.com/openai/openai-cookbook/blob/main/articles/openai-harmony.md
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from unisono.text.parsers.answer_format import Pair
from unisono.text.parsers.call_grammar import CallGrammar, Node
from unisono.text.parsers.json_scanning import json_value
from unisono.text.parsers.messages_format import MESSAGE, START, MessagesFormat
from unisono.text.parsers.part_writer import PartWriter
from unisono.text.parsers.scanner import Reading, Scanner
from unisono.text.parsers.spelling import CallSpelling, Maybe

_CHANNEL, _CONSTRAIN = "<|channel|>", "<|constrain|>"
_ANALYSIS = re.compile(r"<\|channel\|>\s*analysis")
_RECIPIENT = re.compile(r"\bto=([^\s<]+)")


@dataclass(frozen=True)
class Harmony(MessagesFormat):
    """``<|channel|>analysis<|message|>...<|end|><|start|>assistant<|channel|>commentary
    to=functions.f <|constrain|>json<|message|>{...}<|call|>``. What is said before a call, in the
    channel ``commentary``, is content as what is said in ``final``."""

    name = "harmony"
    header_marks = (START, MESSAGE, _CHANNEL, _CONSTRAIN)
    ends = ("<|end|>", "<|call|>", "<|return|>", START, _CHANNEL)
    plain_headers = (f"{_CHANNEL}final{MESSAGE}", f"{_CHANNEL}commentary{MESSAGE}")
    spellings = (
        CallSpelling(
            before_name=f"{_CHANNEL}commentary to=functions.",
            before_arguments=f" {_CONSTRAIN}json{MESSAGE}",
            is_single=True,
        ),
        CallSpelling(
            before_name=" to=functions.",
            before_arguments=(f"{_CHANNEL}commentary ", Maybe(_CONSTRAIN), f"json{MESSAGE}"),
            is_single=True,
        ),
    )
    own_thinking = Pair(f"{_CHANNEL}analysis{MESSAGE}", "<|end|>")

    @classmethod
    def fits(cls, template: str) -> bool:
        return _CHANNEL in template and MESSAGE in template

    def called(self, grammar: CallGrammar) -> Node:
        return {"any": [grammar.calls(spelling) for spelling in self.spellings]}

    def message(self, scanner: Scanner, parts: PartWriter, header: str) -> Reading[str]:
        recipient = _RECIPIENT.search(header)
        name = recipient.group(1) if recipient else ""
        is_call = name.startswith("functions.") or name in parts.calls.tools
        if is_call and parts.calls.tools:
            parts.calls.begin(name.removeprefix("functions."))
            return (yield from self._arguments(scanner, parts))
        parts.is_thinking = self.thinking is not None and bool(_ANALYSIS.search(header))
        mark = yield from self.text(scanner, parts)
        parts.is_thinking = parts.is_thinking and not mark
        return mark

    def _arguments(self, scanner: Scanner, parts: PartWriter) -> Reading[str]:
        first = yield from scanner.peek()
        if first == "{":
            yield from json_value(scanner, parts.calls.arguments)
            return (yield from scanner.until(*self.ends, sink=lambda text: None))
        text, mark = yield from scanner.text_until(*self.ends)
        parts.calls.arguments(text.strip() or ("{}" if mark else ""))
        return mark
