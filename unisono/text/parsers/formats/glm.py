"""GLM 4.5 and later, and models that write as they do: Ling, Spark, Laguna."""

from __future__ import annotations

from dataclasses import dataclass

from unisono.text.parsers.answer_format import AnswerFormat
from unisono.text.parsers.call_writer import CallWriter
from unisono.text.parsers.scanner import NotACallError, Reading, Scanner

_KEY, _KEY_END = "<arg_key>", "</arg_key>"
_VALUE, _VALUE_END = "<arg_value>", "</arg_value>"
_END = "</tool_call>"


@dataclass(frozen=True)
class Glm(AnswerFormat):
    """``<tool_call>f<arg_key>p</arg_key><arg_value>value</arg_value></tool_call>``."""

    name = "glm"
    opens = ("<tool_call>",)
    marks = (_KEY, _KEY_END, _VALUE, _VALUE_END, _END)

    @classmethod
    def fits(cls, template: str) -> bool:
        return _KEY in template and "<tool_call>" in template

    def calls(self, scanner: Scanner, writer: CallWriter, opened: str) -> Reading[None]:
        name, mark = yield from scanner.text_until(_KEY, _END)
        if not mark or not name.strip():
            raise NotACallError
        writer.begin(name.strip())
        while mark == _KEY:
            key, mark = yield from scanner.text_until(_KEY_END)
            if not mark or not (yield from scanner.at_mark(_VALUE)):
                return
            value, mark = yield from scanner.text_until(_VALUE_END)
            if not mark:
                return
            writer.parameter(key.strip(), value)
            mark = yield from scanner.at_mark(_KEY, _END)
        writer.end_parameters()
