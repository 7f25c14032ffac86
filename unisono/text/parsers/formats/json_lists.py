"""Lists of JSON objects behind one mark, each kind of models with marks of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from unisono.text.parsers.call_writer import CallWriter
from unisono.text.parsers.json_call import read_calls
from unisono.text.parsers.marked_format import MarkedFormat
from unisono.text.parsers.scanner import Reading, Scanner
from unisono.text.parsers.spelling import SPACE, CallSpelling, Maybe, json_calls

_NAMED = ("name", "arguments")


def _list(opens: str, end: str, keys: tuple[str, str] = _NAMED) -> CallSpelling:
    return json_calls((opens, SPACE, "["), ("]", SPACE, Maybe(end)), keys=keys, sign=opens)


def _one(opens: str, end: str, keys: tuple[str, str] = _NAMED) -> CallSpelling:
    return json_calls((opens, SPACE), (SPACE, Maybe(end)), keys=keys, sign=opens, is_single=True)


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
    spellings: ClassVar[tuple[CallSpelling, ...]] = (
        _list("<tool_calls>", "</tool_calls>"),
        _list("<TOOLCALL>", "</TOOLCALL>"),
        _list("<|START_ACTION|>", "<|END_ACTION|>", keys=("tool_name", "parameters")),
        CallSpelling(
            before_name='{"',
            before_arguments='": ',
            end="}",
            opens="<|tools_prefix|>[",
            between=", ",
            closes=("]", Maybe("<|tools_suffix|>")),
            sign="<|tools_prefix|>",
        ),
        _list("<|tool_call|>", "<|/tool_call|>"),
        _one("<|function_call|>", "<|message_sep|>"),
        _one("function call<|role_sep|>", "<|message_sep|>"),
        _one("<|action_start|><|plugin|>", "<|action_end|>", keys=("name", "parameters")),
    )

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
    spellings = (
        json_calls(
            ("Action:\n```json", SPACE, "[", SPACE),
            (SPACE, "]", SPACE, "```"),
            keys=("tool_name", "parameters"),
            between=",\n",
        ),
    )

    @classmethod
    def fits(cls, template: str) -> bool:
        return "Action:" in template and "```json" in template and '"tool_name"' in template


class Functools(JsonLists):
    """``functools[{...}, ...]``: Firefunction, and Phi-4-mini under some templates."""

    name = "functools"
    around: ClassVar[dict[str, str]] = {"functools": "</functools>"}
    opens = tuple(around)
    closes = ()
    spellings = (json_calls("functools[", "]"),)

    @classmethod
    def fits(cls, template: str) -> bool:
        return "functools[" in template
