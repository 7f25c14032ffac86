"""JSON behind any mark that some model has for it, for templates that say nothing of calls."""

from __future__ import annotations

from typing import ClassVar

from unisono.text.parsers.call_writer import CallWriter
from unisono.text.parsers.formats.json_lists import JsonLists
from unisono.text.parsers.json_call import read_calls
from unisono.text.parsers.scanner import NotACallError, Reading, Scanner
from unisono.text.parsers.spelling import SPACE, json_calls


class General(JsonLists):
    """xLAM and others: calls in JSON, with or without a fence, as a whole answer or marked."""

    name = "general"
    around: ClassVar[dict[str, str]] = {
        **JsonLists.around,
        "<tool_call>": "</tool_call>",
        "<function_call>": "</function_call>",
        "[TOOL_CALLS]": "[/TOOL_CALLS]",
    }
    opens = tuple(around)
    closes = tuple(dict.fromkeys(around.values()))
    bare = "[{`"
    spellings = (
        json_calls("[", "]", is_bare=True),
        json_calls(is_bare=True, is_single=True),
        json_calls(("```json", SPACE, "["), ("]", SPACE, "```"), is_bare=True),
        *(
            json_calls((mark, SPACE), (SPACE, end), sign=mark, is_single=True)
            for mark, end in around.items()
        ),
        *(
            json_calls((mark, SPACE, "["), ("]", SPACE, end), sign=mark)
            for mark, end in around.items()
        ),
    )

    @classmethod
    def fits(cls, template: str) -> bool:
        return False

    def bare_calls(self, scanner: Scanner, writer: CallWriter) -> Reading[None]:
        is_fenced = yield from scanner.at_mark("```json", "```")
        if (yield from scanner.peek()) not in ("[", "{"):
            raise NotACallError
        yield from read_calls(scanner, writer, is_bare=True)
        if is_fenced:
            yield from scanner.at_mark("```")
