"""Muse: messages to oneself, to the user and to tools."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from unisono.text.parsers.answer_format import Pair
from unisono.text.parsers.call_grammar import CallGrammar, Node
from unisono.text.parsers.formats.tagged import Tagged, members_alike
from unisono.text.parsers.messages_format import MESSAGE, START, MessagesFormat
from unisono.text.parsers.part_writer import PartWriter
from unisono.text.parsers.scanner import Reading, Scanner
from unisono.text.parsers.spelling import CallSpelling, Value

_TO_SELF = re.compile(r"\bto=self\b")


class _Atem(Tagged):
    name = "atem"
    opens = ("<atem:function_calls>",)
    closes = ("</atem:function_calls>",)
    function = ("<atem:invoke ", "</atem:invoke>")
    parameter = ("<atem:parameter ", "</atem:parameter>")
    spellings = (
        CallSpelling(
            before_name='<atem:invoke name="',
            before_arguments='">\n',
            members=members_alike('<atem:parameter name="', Value('">', "</atem:parameter>\n")),
            end="</atem:invoke>\n",
            opens="<atem:function_calls>\n",
            closes="</atem:function_calls>",
        ),
    )


@dataclass(frozen=True)
class Muse(MessagesFormat):
    """``to=self<|message|>...<|eom|><|start|>assistant to=f<|message|><atem:function_calls>
    <atem:invoke name="f"><atem:parameter name="p">value</atem:parameter></atem:invoke>
    </atem:function_calls><|eot|>``."""

    name = "muse"
    ends = ("<|eom|>", "<|eot|>", START)
    own_thinking = Pair(f" to=self{MESSAGE}", "<|eom|>")
    plain_headers = (f" to=user{MESSAGE}",)
    calls: ClassVar[Tagged] = _Atem()
    marks = calls.names(with_calls=True)

    @classmethod
    def fits(cls, template: str) -> bool:
        return "<atem:function_calls>" in template

    def called(self, grammar: CallGrammar) -> Node:
        """The name of a tool is in the header and in the call."""
        (spelling,) = self.calls.spellings
        own = [grammar.of([tool]) for tool in grammar.tools]
        return {
            "any": [
                [" to=", one.tools[0].name, *one.letters(MESSAGE), one.calls(spelling)]
                for one in own
            ]
        }

    def message(self, scanner: Scanner, parts: PartWriter, header: str) -> Reading[str]:
        parts.is_thinking = self.thinking is not None and bool(_TO_SELF.search(header))
        opens = self.calls.opens if parts.calls.tools and not parts.is_thinking else ()
        mark = yield from self.text(scanner, parts, *opens)
        while mark in opens:
            calls = self.calls.calls(scanner, parts.calls, mark)
            if not (yield from parts.attempt(scanner, calls)):
                parts.say(parts.marks.written(mark))
            mark = yield from self.text(scanner, parts, *opens)
        parts.is_thinking = parts.is_thinking and not mark
        return mark
