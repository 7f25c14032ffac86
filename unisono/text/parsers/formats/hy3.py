"""Hunyuan's Hy3: as GLM, with a mark behind the name and a section of calls."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from unisono.text.parsers.answer_format import Pair
from unisono.text.parsers.call_writer import CallWriter
from unisono.text.parsers.formats.glm import Glm, keyed_calls
from unisono.text.parsers.scanner import NotACallError, Reading, Scanner
from unisono.text.parsers.spelling import SPACE, CallSpelling


def _sections(suffix: str, separator: str) -> tuple[CallSpelling, ...]:
    call = keyed_calls(suffix, separator)
    opens, closes = f"<tool_calls{suffix}>", f"</tool_calls{suffix}>"
    return replace(call, opens=(opens, SPACE), closes=(SPACE, closes)), replace(
        call, sign=separator
    )


class Hy3(Glm):
    """``<tool_calls><tool_call>f<tool_sep><arg_key>...</tool_call></tool_calls>``."""

    name = "hy3"
    suffix: ClassVar[str] = ""
    opens: ClassVar[tuple[str, ...]] = ("<tool_call>", "<tool_calls>")
    closes: ClassVar[tuple[str, ...]] = ("</tool_call>", "</tool_calls>")
    marks: ClassVar[tuple[str, ...]] = (*Glm.marks, "<tool_sep>")
    separator: ClassVar[tuple[str, ...]] = ("<tool_sep>",)
    own_thinking = Pair("<think>", "</think>")
    spellings: ClassVar[tuple[CallSpelling, ...]] = _sections("", "<tool_sep>")

    @classmethod
    def fits(cls, template: str) -> bool:
        is_it = "<tool_sep>" in template or "<tool_sep{}>" in template
        return is_it and f"'{cls.suffix}'" in template

    def calls(self, scanner: Scanner, writer: CallWriter, opened: str) -> Reading[None]:
        begin, section = self.opens
        if opened == section and not (yield from scanner.at_mark(begin)):
            raise NotACallError
        while True:
            yield from super().calls(scanner, writer, begin)
            if not (yield from scanner.at_mark(begin)):
                break
        yield from scanner.at_mark(self.closes[1])


def _with_suffix(mark: str) -> str:
    return f"{mark[:-1]}:opensource>"


class Hy3OpenSource(Hy3):
    """The same, with ``:opensource`` in each mark."""

    name = "hy3-opensource"
    suffix = ":opensource"
    opens = tuple(map(_with_suffix, Hy3.opens))
    closes = tuple(map(_with_suffix, Hy3.closes))
    marks = tuple(map(_with_suffix, Hy3.marks))
    separator = tuple(map(_with_suffix, Hy3.separator))
    own_thinking = Pair("<think:opensource>", "</think:opensource>")
    spellings = _sections(suffix, separator[0])
