"""DeepSeek V3.2 and V4: tags with a token in each."""

from __future__ import annotations

from unisono.text.parsers.formats.tagged import Tagged
from unisono.text.parsers.spelling import CallSpelling, Members, Value


def _spelling(section: str) -> CallSpelling:
    end = "</｜DSML｜parameter>\n"
    return CallSpelling(
        before_name='<｜DSML｜invoke name="',
        before_arguments='">\n',
        members=Members(
            key='<｜DSML｜parameter name="',
            text=Value('" string="true">', end),
            json=Value('" string="false">', end),
            tells=True,
        ),
        end="</｜DSML｜invoke>\n",
        opens=f"<｜DSML｜{section}>\n",
        closes=f"</｜DSML｜{section}>",
    )


class DeepSeekV32(Tagged):
    """``<｜DSML｜invoke name="f"><｜DSML｜parameter name="p" string="true">...``, between two tags.
    Templates build them from a variable."""

    name = "deepseek-v3.2"
    opens = ("<｜DSML｜function_calls>",)
    closes = ("</｜DSML｜function_calls>",)
    marks = ("｜DSML｜",)
    function = ("<｜DSML｜invoke ", "</｜DSML｜invoke>")
    parameter = ("<｜DSML｜parameter ", "</｜DSML｜parameter>")
    spellings = (_spelling("function_calls"),)

    @classmethod
    def fits(cls, template: str) -> bool:
        return "｜DSML｜" in template and cls.opens[0].rpartition("｜")[2] in template


class DeepSeekV4(DeepSeekV32):
    name = "deepseek-v4"
    opens = ("<｜DSML｜tool_calls>",)
    closes = ("</｜DSML｜tool_calls>",)
    spellings = (_spelling("tool_calls"),)
