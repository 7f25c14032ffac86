"""MiniCPM5."""

from __future__ import annotations

from unisono.text.parsers.formats.tagged import Tagged
from unisono.text.parsers.scanner import Reading, Scanner
from unisono.text.parsers.spelling import CallSpelling, Members, Value

_CDATA, _CDATA_END = "<![CDATA[", "]]>"


class MiniCpm5(Tagged):
    """``<function name="f"><param name="p"><![CDATA[value]]></param></function>``."""

    name = "minicpm5"
    opens = ('<function name="',)
    closes = ("</function>",)
    function = ('<function name="', "</function>")
    parameter = ("<param ", "</param>")
    spellings = (
        CallSpelling(
            before_name='<function name="',
            before_arguments='">',
            members=Members(
                key='<param name="',
                text=Value(f'">{_CDATA}', f"{_CDATA_END}</param>", _CDATA_END),
                json=Value('">', "</param>"),
            ),
            end="</function>",
            between="\n",
        ),
    )

    @classmethod
    def fits(cls, template: str) -> bool:
        return '<function name="' in template and '<param name="' in template

    def value(self, scanner: Scanner, end: str) -> Reading[tuple[str, str]]:
        text, mark = yield from scanner.text_until(_CDATA, end)
        if mark != _CDATA:
            return text, mark
        return (yield from scanner.text_until(f"{_CDATA_END}{end}", f"{_CDATA_END}\n{end}"))
