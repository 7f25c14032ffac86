"""Tags around each parameter: Qwen3-Coder, Nemotron 3, Seed-OSS, Step, MiniMax M2.

``<function=f><parameter=p>value</parameter></function>``, or the same with names as attributes,
``<invoke name="f"><parameter name="p">``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from unisono.text.parsers.call_writer import CallWriter
from unisono.text.parsers.marked_format import MarkedFormat
from unisono.text.parsers.scanner import NotACallError, Reading, Scanner
from unisono.text.parsers.spelling import SPACE, CallSpelling, Maybe, Members, Value

_ATTRIBUTE = re.compile(r'\bname="([^"]*)"')
_SAYS_TEXT = re.compile(r'\bstring="(true|false)"')


@dataclass(frozen=True)
class Tagged(MarkedFormat):
    """Calls between ``opens[0]`` and ``closes[0]``; each class below spells the tags in its way."""

    function: ClassVar[tuple[str, str]]
    """The beginning of a call's tag, up to its name, and the tag that ends the call."""
    parameter: ClassVar[tuple[str, str]]
    spellings: ClassVar[tuple[CallSpelling, ...]]
    ends_line: ClassVar[bool] = False
    """A value stands between two line ends that are not part of it."""

    @classmethod
    def fits(cls, template: str) -> bool:
        return cls.opens[0] in template and cls.function[0] in template

    def names(self, *, with_calls: bool) -> tuple[str, ...]:
        tags = (*self.function, *self.parameter) if with_calls else ()
        return (*super().names(with_calls=with_calls), *tags)

    def calls(self, scanner: Scanner, writer: CallWriter, opened: str) -> Reading[None]:
        begin = self.function[0]
        if opened != begin and not (yield from scanner.at_mark(begin)):
            raise NotACallError
        yield from scanner.each(begin, lambda: self._call(scanner, writer))
        yield from scanner.at_mark(self.closes[0])

    def _call(self, scanner: Scanner, writer: CallWriter) -> Reading[None]:
        head, _ = yield from scanner.name(">", has_spaces=True)
        if not (name := _name(head)):
            raise NotACallError
        writer.begin(name)
        begin, end = self.parameter
        while True:
            mark = yield from scanner.at_mark(begin, self.function[1], self.closes[0])
            if mark != begin:
                break
            tag, mark = yield from scanner.text_until(">")
            value, mark = yield from self.value(scanner, end)
            if not mark:
                return
            says = _SAYS_TEXT.search(tag)
            writer.parameter(_name(tag), value, is_text=says.group(1) == "true" if says else None)
        if mark or not scanner.is_read:
            writer.end_members()

    def value(self, scanner: Scanner, end: str) -> Reading[tuple[str, str]]:
        """A value, and the tag behind it, as of :meth:`Scanner.text_until`."""
        text, mark = yield from scanner.text_until(end)
        if self.ends_line:
            text = text.removeprefix("\n").removesuffix("\n")
        return text, mark


def _name(tag: str) -> str:
    """The name in a tag: an attribute, or all there is."""
    found = _ATTRIBUTE.search(tag)
    return found.group(1) if found else tag.strip().strip('"')


def members_alike(key: str, value: Value) -> Members:
    """A text stands between the same letters as another value."""
    return Members(key=key, json=value, text=value)


class Qwen3Coder(Tagged):
    name = "qwen3-coder"
    opens = ("<tool_call>", "<function=")
    closes = ("</tool_call>",)
    function = ("<function=", "</function>")
    parameter = ("<parameter=", "</parameter>")
    ends_line = True
    spellings = (
        CallSpelling(
            before_name=("<tool_call>", SPACE, "<function="),
            before_arguments=">\n",
            members=members_alike("<parameter=", Value(">\n", "\n</parameter>\n", "</parameter>")),
            end="</function>\n</tool_call>",
            between="\n",
        ),
        CallSpelling(
            before_name="<function=",
            before_arguments=">\n",
            members=members_alike("<parameter=", Value(">\n", "\n</parameter>\n", "</parameter>")),
            end=("</function>", SPACE, Maybe("</tool_call>")),
            between="\n",
            sign="<function=",
        ),
    )


class SeedOss(Tagged):
    name = "seed-oss"
    opens = ("<seed:tool_call>",)
    closes = ("</seed:tool_call>",)
    function = ("<function=", "</function>")
    parameter = ("<parameter=", "</parameter>")
    spellings = (
        CallSpelling(
            before_name="<seed:tool_call>\n<function=",
            before_arguments=">\n",
            members=members_alike("<parameter=", Value(">", "</parameter>\n")),
            end="</function>\n</seed:tool_call>",
            between="\n",
        ),
    )


class MiniMaxM2(Tagged):
    name = "minimax-m2"
    opens = ("<minimax:tool_call>",)
    closes = ("</minimax:tool_call>",)
    function = ("<invoke ", "</invoke>")
    parameter = ("<parameter ", "</parameter>")
    spellings = (
        CallSpelling(
            before_name='<invoke name="',
            before_arguments='">\n',
            members=members_alike('<parameter name="', Value('">', "</parameter>\n")),
            end="</invoke>\n",
            opens="<minimax:tool_call>\n",
            closes="</minimax:tool_call>",
        ),
    )
