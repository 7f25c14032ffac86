"""Gemma 4 and FunctionGemma: objects with bare keys, and strings between marks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from unisono.text.parsers.answer_format import Pair
from unisono.text.parsers.call_writer import CallWriter
from unisono.text.parsers.marked_format import MarkedFormat
from unisono.text.parsers.python_call import literal
from unisono.text.parsers.scanner import Reading, Scanner
from unisono.text.parsers.spelling import CallSpelling, Members, Value


def _spelling(begin: str, end: str, quote: str) -> CallSpelling:
    """Texts inside of lists and objects are written as in JSON, which is read as well."""
    return CallSpelling(
        before_name=f"{begin}call:",
        before_arguments="{",
        members=Members(text=Value(f":{quote}", quote), json=Value(":", ""), between=","),
        end=f"}}{end}",
    )


@dataclass(frozen=True)
class Gemma4(MarkedFormat):
    """``<|tool_call>call:f{key:<|"|>text<|"|>,other:1}<tool_call|>``."""

    name = "gemma4"
    opens = ("<|tool_call>",)
    closes = ("<tool_call|>",)
    quote: ClassVar[str] = '<|"|>'
    marks = (quote,)
    spellings: ClassVar[tuple[CallSpelling, ...]] = (
        _spelling("<|tool_call>", "<tool_call|>", '<|"|>'),
    )
    own_thinking: ClassVar[Pair | None] = Pair("<|channel>thought\n", "<channel|>")

    def calls(self, scanner: Scanner, writer: CallWriter, opened: str) -> Reading[None]:
        yield from scanner.expect("call:")
        name, _ = yield from scanner.name("{")
        writer.begin(name)
        quote = scanner.marks.written(self.quote)
        quotes = (self.quote,) if '"' in quote else (self.quote, '"')
        while True:
            letter = yield from scanner.peek()
            if letter == "}":
                scanner.take(1)
                break
            if letter == ",":
                scanner.take(1)
                continue
            key, end = yield from literal(scanner, (self.quote,), ":")
            if not end:
                return
            scanner.take(1)
            value, end = yield from literal(scanner, quotes, ",}")
            if not end:
                return
            writer.literal(key.replace(quote, "").strip(), value, quote)
        writer.end_members()
        yield from scanner.at_mark(*self.closes)


class FunctionGemma(Gemma4):
    """``<start_function_call>call:f{key:<escape>text<escape>}<end_function_call>``."""

    name = "functiongemma"
    opens = ("<start_function_call>",)
    closes = ("<end_function_call>",)
    quote = "<escape>"
    marks = (quote,)
    spellings = (_spelling("<start_function_call>", "<end_function_call>", "<escape>"),)
    own_thinking = None
