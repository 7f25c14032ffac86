"""Tags around each parameter: Qwen3-Coder, Nemotron 3, Seed-OSS, Step, MiniMax, DeepSeek V3.2.

``<function=f><parameter=p>value</parameter></function>``, or the same with names as attributes,
``<invoke name="f"><parameter name="p">``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from unisono.text.parsers.answer_format import AnswerFormat
from unisono.text.parsers.call_writer import CallWriter
from unisono.text.parsers.scanner import NotACallError, Reading, Scanner

_ATTRIBUTE = re.compile(r'\bname="([^"]*)"')
_SAYS_TEXT = re.compile(r'\bstring="(true|false)"')


@dataclass(frozen=True)
class Tagged(AnswerFormat):
    """Calls between ``opens[0]`` and ``section``; each class below spells the tags in its way."""

    section: ClassVar[str]
    """The mark behind the calls."""
    function: ClassVar[tuple[str, str]]
    """The beginning of a call's tag, up to its name, and the tag that ends the call."""
    parameter: ClassVar[tuple[str, str]]
    ends_line: ClassVar[bool] = False
    """A value stands between two line ends that are not part of it."""

    @classmethod
    def fits(cls, template: str) -> bool:
        return cls.opens[0] in template and cls.function[0] in template

    def calls(self, scanner: Scanner, writer: CallWriter, opened: str) -> Reading[None]:
        if not (yield from scanner.at_mark(self.function[0])):
            raise NotACallError
        while True:
            yield from self._call(scanner, writer)
            if not (yield from scanner.at_mark(self.function[0])):
                break
        yield from scanner.at_mark(self.section)

    def _call(self, scanner: Scanner, writer: CallWriter) -> Reading[None]:
        head, mark = yield from scanner.text_until(">", self.section)
        if mark != ">":
            raise NotACallError
        writer.begin(_name(head))
        begin, end = self.parameter
        while (yield from scanner.at_mark(begin, self.function[1], self.section)) == begin:
            tag, mark = yield from scanner.text_until(">")
            value, mark = yield from scanner.text_until(end)
            if not mark:
                return
            says = _SAYS_TEXT.search(tag)
            writer.parameter(
                _name(tag), self._value(value), is_text=says.group(1) == "true" if says else None
            )
        writer.end_parameters()

    def _value(self, text: str) -> str:
        return text.removeprefix("\n").removesuffix("\n") if self.ends_line else text


def _name(tag: str) -> str:
    """The name in a tag: an attribute, or all there is."""
    found = _ATTRIBUTE.search(tag)
    return found.group(1) if found else tag.strip().strip('"')


class Qwen3Coder(Tagged):
    name = "qwen3-coder"
    opens = ("<tool_call>",)
    section = "</tool_call>"
    marks = ("</tool_call>",)
    function = ("<function=", "</function>")
    parameter = ("<parameter=", "</parameter>")
    ends_line = True


class SeedOss(Tagged):
    name = "seed-oss"
    opens = ("<seed:tool_call>",)
    section = "</seed:tool_call>"
    marks = ("</seed:tool_call>",)
    function = ("<function=", "</function>")
    parameter = ("<parameter=", "</parameter>")


class MiniMaxM2(Tagged):
    name = "minimax-m2"
    opens = ("<minimax:tool_call>",)
    section = "</minimax:tool_call>"
    marks = ("</minimax:tool_call>",)
    function = ("<invoke ", "</invoke>")
    parameter = ("<parameter ", "</parameter>")


class DeepSeekV32(Tagged):
    name = "deepseek-v3.2"
    opens = ("<｜DSML｜function_calls>",)
    section = "</｜DSML｜function_calls>"
    function = ("<｜DSML｜invoke ", "</｜DSML｜invoke>")
    parameter = ("<｜DSML｜parameter ", "</｜DSML｜parameter>")


class DeepSeekV4(DeepSeekV32):
    name = "deepseek-v4"
    opens = ("<｜DSML｜tool_calls>",)
    section = "</｜DSML｜tool_calls>"
