"""Functionary 3.1, and Llama 3.1 as its custom tools write; Functionary 3.2."""

from __future__ import annotations

from dataclasses import dataclass

from unisono.text.parsers.answer_format import AnswerFormat
from unisono.text.parsers.call_grammar import CallGrammar, Node
from unisono.text.parsers.call_writer import CallWriter
from unisono.text.parsers.calls_amid import amid
from unisono.text.parsers.json_scanning import json_value
from unisono.text.parsers.marked_format import MarkedFormat
from unisono.text.parsers.part_writer import PartWriter
from unisono.text.parsers.scanner import NotACallError, Reading, Scanner
from unisono.text.parsers.spelling import CallSpelling
from unisono.text.parsers.trimmed import Trimmed


@dataclass(frozen=True)
class Functionary31(MarkedFormat):
    """``<function=f>{...}</function>``."""

    name = "functionary-v3.1"
    opens = ("<function=",)
    closes = ("</function>",)
    spellings = (CallSpelling(before_name="<function=", before_arguments=">", end="</function>"),)

    def calls(self, scanner: Scanner, writer: CallWriter, opened: str) -> Reading[None]:
        name, _ = yield from scanner.name(">")
        if (yield from scanner.peek()) != "{":
            raise NotACallError
        writer.begin(name)
        yield from json_value(scanner, writer.arguments)
        yield from scanner.at_mark("</function>")


@dataclass(frozen=True)
class Functionary32(AnswerFormat):
    """``all\\n``, content, then ``>>>f\\n{...}`` for each call; the prompt ends with ``>>>``."""

    name = "functionary-v3.2"
    spellings = (CallSpelling(before_name="", before_arguments="\n", between=">>>"),)

    @classmethod
    def fits(cls, template: str) -> bool:
        return ">>>${recipient}" in template or ">>>all" in template

    def names(self, *, with_calls: bool) -> tuple[str, ...]:
        return (">>>",)

    def calls_amid(self, grammar: CallGrammar) -> Node | None:
        (spelling,) = self.spellings
        calls = grammar.of(grammar.tools).calls_each(spelling)
        further = amid(
            grammar, (">>>",), [[f">>>{name}", *rest] for name, *rest in calls], bare=(), others=()
        )
        return {"any": [["all\n", further], grammar.calls(spelling)]}

    def answer(self, scanner: Scanner, parts: PartWriter) -> Reading[None]:
        is_header = yield from parts.attempt(scanner, self._header(scanner, parts.calls))
        said = Trimmed(parts.say, is_first=not is_header)
        while (yield from scanner.until(">>>", sink=said.add)):
            if (yield from parts.attempt(scanner, self._header(scanner, parts.calls))):
                said = Trimmed(parts.say)
            else:
                said.add(">>>")
        said.keep()

    def _header(self, scanner: Scanner, writer: CallWriter) -> Reading[None]:
        """Whom a message is for, and all of it if that is a tool."""
        name, _ = yield from scanner.name("\n")
        if name == "all":
            return
        if name not in writer.tools:
            raise NotACallError
        writer.begin(name)
        yield from json_value(scanner, writer.arguments)
