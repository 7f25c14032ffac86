"""Lists of JSON objects behind one mark, each kind of models with marks of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from unisono.text.parsers.call_writer import CallWriter
from unisono.text.parsers.json_call import read_calls
from unisono.text.parsers.marked_format import MarkedFormat
from unisono.text.parsers.scanner import Reading, Scanner


@dataclass(frozen=True)
class JsonLists(MarkedFormat):
    """``<tool_calls>[{"name": "f", "arguments": {...}}, ...]</tool_calls>``: Apriel, HunYuan,
    Jamba, MiniMax M1, Nemotron, Command R7B and A, Apertus, Granite 3, Phi-4-mini, GigaChat 3,
    InternLM."""

    name = "json-lists"
    around: ClassVar[dict[str, str]] = {
        "<tool_calls>": "</tool_calls>",
        "<TOOLCALL>": "</TOOLCALL>",
        "<|START_ACTION|>": "<|END_ACTION|>",
        "<|tools_prefix|>": "<|tools_suffix|>",
        "<|tool_call|>": "<|/tool_call|>",
        "<|function_call|>": "<|message_sep|>",
        "<|message_sep|>\n\nfunction call<|role_sep|>": "<|message_sep|>",
        "function call<|role_sep|>": "<|message_sep|>",
        "<|action_start|><|plugin|>": "<|action_end|>",
    }
    """The mark that closes calls, by the one that opens them."""
    opens = tuple(around)
    closes = tuple(dict.fromkeys(around.values()))

    @classmethod
    def fits(cls, template: str) -> bool:
        others = ("<|/tool|>", "<|role_sep|>")
        return super().fits(template) or any(mark in template for mark in others)

    def calls(self, scanner: Scanner, writer: CallWriter, opened: str) -> Reading[None]:
        yield from read_calls(scanner, writer)
        yield from scanner.at_mark(self.around[opened])


class CommandRPlus(JsonLists):
    """A fenced list behind ``Action:``."""

    name = "command-r-plus"
    around: ClassVar[dict[str, str]] = {"Action:\n```json": "```", "Action: ```json": "```"}
    opens = tuple(around)
    closes = ()

    @classmethod
    def fits(cls, template: str) -> bool:
        return "Action:" in template and "```json" in template and '"tool_name"' in template


class Functools(JsonLists):
    """``functools[{...}, ...]``: Firefunction, and Phi-4-mini under some templates."""

    name = "functools"
    around: ClassVar[dict[str, str]] = {"functools": "</functools>"}
    opens = tuple(around)
    closes = ()

    @classmethod
    def fits(cls, template: str) -> bool:
        return "functools[" in template
