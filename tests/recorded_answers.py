"""The same answer in the words of each format: a thought, a sentence, and two calls."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from unisono.text.parsers.answer_format import AnswerFormat, Pair
from unisono.text.parsers.finding import format_named

THOUGHT = "Hm, {so}."
SAID = 'I "look".'
ARGUMENTS: dict[str, Any] = {
    "place": 'a "b" {c}\n<d>',
    "count": 3,
    "deep": {"a": [True, 1.5, {"b": "x"}]},
}
SCHEMAS: Mapping[str, Mapping[str, Any]] = {
    "find": {
        "type": "object",
        "properties": {
            "place": {"type": "string"},
            "count": {"type": "integer"},
            "deep": {"type": "object"},
        },
    },
    "now": {"type": "object", "properties": {}},
}
_JSON = json.dumps(ARGUMENTS)
_FIND = f'{{"name": "find", "arguments": {_JSON}}}'
_NOW = '{"name": "now", "arguments": {}}'
_PARAMETERS = f'{{"name": "find", "parameters": {_JSON}}}'
_DEEP = json.dumps(ARGUMENTS["deep"])
_PLACE = ARGUMENTS["place"]
_THINK = f"<think>{THOUGHT}</think>\n{SAID}"
_PYTHON = f"find(place={_PLACE!r}, count=3, deep={ARGUMENTS['deep']!r})"


@dataclass(frozen=True)
class Recorded:
    name: str
    said: str
    """With the thought before it."""
    calls: str

    @property
    def format(self) -> AnswerFormat:
        kind = format_named(self.name)
        return kind(kind.own_thinking or Pair("<think>", "</think>"), kind.own_speaking)

    def saying(self, text: str) -> Recorded:
        return replace(self, said=self.said.replace(SAID, text))


def _dsml(section: str) -> str:
    return (
        f'\n\n<｜DSML｜{section}>\n<｜DSML｜invoke name="find">\n'
        f'<｜DSML｜parameter name="place" string="true">{_PLACE}</｜DSML｜parameter>\n'
        f'<｜DSML｜parameter name="count" string="false">3</｜DSML｜parameter>\n'
        f'<｜DSML｜parameter name="deep" string="false">{_DEEP}</｜DSML｜parameter>\n'
        f'</｜DSML｜invoke>\n<｜DSML｜invoke name="now">\n</｜DSML｜invoke>\n</｜DSML｜{section}>'
    )


def _invoked(begin: str, end: str, tag: str = "") -> str:
    return (
        f'{begin}\n<{tag}invoke name="find">'
        f'\n<{tag}parameter name="place">{_PLACE}</{tag}parameter>'
        f'\n<{tag}parameter name="count">3</{tag}parameter>'
        f'\n<{tag}parameter name="deep">{_DEEP}</{tag}parameter>\n</{tag}invoke>\n'
        f'<{tag}invoke name="now">\n</{tag}invoke>\n{end}'
    )


def _functions(begin: str, end: str, line: str) -> str:
    return (
        f"\n{begin}\n<function=find>\n<parameter=place>{line}{_PLACE}{line}</parameter>\n"
        f"<parameter=count>{line}3{line}</parameter>\n<parameter=deep>{line}{_DEEP}{line}"
        f"</parameter>\n</function>\n{end}\n{begin}\n<function=now>\n</function>\n{end}"
    )


def _keys(suffix: str, separator: str) -> str:
    keys = "".join(
        f"<arg_key{suffix}>{key}</arg_key{suffix}>\n"
        f"<arg_value{suffix}>{value}</arg_value{suffix}>\n"
        for key, value in (("place", _PLACE), ("count", 3), ("deep", _DEEP))
    )
    calls = (
        f"<tool_call{suffix}>find{separator}\n{keys}</tool_call{suffix}>\n"
        f"<tool_call{suffix}>now{separator}</tool_call{suffix}>"
    )
    return f"<tool_calls{suffix}>\n{calls}\n</tool_calls{suffix}>" if separator else calls


def _gemma(begin: str, end: str, quote: str) -> str:
    deep = f"{{a:[true,1.5,{{b:{quote}x{quote}}}]}}"
    call = f"call:find{{place:{quote}{_PLACE}{quote},count:3,deep:{deep}}}"
    return f"{begin}{call}{end}{begin}call:now{{}}{end}"


def _kimi_k3() -> str:
    def tag(text: str, inside: str) -> str:
        name = text.partition(" ")[0]
        return f"<|open|>{text}<|sep|>{inside}<|close|>{name}<|sep|>"

    members = (
        tag('argument key="place" type="string"', _PLACE)
        + tag('argument key="count" type="number"', "3")
        + tag('argument key="deep" type="object"', _DEEP)
    )
    calls = tag('call tool="find" index="1"', members) + tag('call tool="now" index="2"', "")
    return tag("tools", calls) + "<|close|>message<|sep|><|end_of_msg|>"


def _minimax_m3() -> str:
    calls = (
        '<tool_call>\n@<invoke name="find">@<place>{}@</place>@<count>3@</count>@<deep>@<a>'
        "@<item>true@</item>@<item>1.5@</item>@<item>@<b>x@</b>@</item>@</a>@</deep>@</invoke>\n"
        '@<invoke name="now">@</invoke>\n@</tool_call>'
    )
    return "]<]minimax[>[" + calls.replace("@", "]<]minimax[>[").format(_PLACE)


RECORDED = (
    Recorded(
        "harmony",
        f"<|channel|>analysis<|message|>{THOUGHT}<|end|><|start|>assistant"
        f"<|channel|>commentary<|message|>{SAID}<|end|><|start|>assistant",
        f"<|channel|>commentary to=functions.find <|constrain|>json<|message|>{_JSON}<|call|>"
        "<|start|>assistant to=functions.now<|channel|>commentary json<|message|>{}<|call|>",
    ),
    Recorded(
        "muse",
        f" to=self<|message|>{THOUGHT}<|eom|><|start|>assistant to=user<|message|>{SAID}<|eom|>"
        "<|start|>assistant",
        f" to=find<|message|>{_invoked('<atem:function_calls>', '</atem:function_calls>', 'atem:')}"
        "<|eot|>",
    ),
    Recorded(
        "kimi-k3",
        f"<|open|>think<|sep|>{THOUGHT}<|close|>think<|sep|>"
        f"<|open|>response<|sep|>{SAID}<|close|>response<|sep|>",
        _kimi_k3(),
    ),
    Recorded(
        "kimi-k2",
        _THINK,
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.find:0"
        f"<|tool_call_argument_begin|>{_JSON}<|tool_call_end|><|tool_call_begin|>functions.now:1"
        "<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_calls_section_end|>",
    ),
    Recorded(
        "solar",
        f"<|think|>{THOUGHT}<|end|><|begin|>assistant<|content|>{SAID}<|end|><|begin|>assistant",
        f"<|tool_calls|><|tool_call:begin|>1<|tool_call:name|>find<|tool_call:args|>{_JSON}"
        "<|tool_call:end|><|tool_call:begin|>2<|tool_call:name|>now<|tool_call:args|>{}"
        "<|tool_call:end|><|calls|>",
    ),
    Recorded("minimax-m3", f"<mm:think>{THOUGHT}</mm:think>{SAID}", _minimax_m3()),
    Recorded("minimax-m2", _THINK, _invoked("<minimax:tool_call>", "</minimax:tool_call>")),
    Recorded("deepseek-v4", _THINK, _dsml("tool_calls")),
    Recorded("deepseek-v3.2", _THINK, _dsml("function_calls")),
    Recorded(
        "deepseek",
        _THINK,
        f"<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>find<｜tool▁sep｜>{_JSON}<｜tool▁call▁end｜>"
        "<｜tool▁call▁begin｜>function<｜tool▁sep｜>now\n```json\n{}\n```<｜tool▁call▁end｜>"
        "<｜tool▁calls▁end｜>",
    ),
    Recorded(
        "minicpm5",
        _THINK,
        f'\n<function name="find"><param name="place"><![CDATA[{_PLACE}]]></param>'
        f'<param name="count">3</param><param name="deep">{ARGUMENTS["deep"]!r}</param>'
        "</function>\n"
        '<function name="now"></function>',
    ),
    Recorded(
        "hy3-opensource",
        f"<think:opensource>{THOUGHT}</think:opensource>{SAID}",
        _keys(":opensource", "<tool_sep:opensource>"),
    ),
    Recorded("hy3", _THINK, _keys("", "<tool_sep>")),
    Recorded("seed-oss", _THINK, _functions("<seed:tool_call>", "</seed:tool_call>", "")),
    Recorded(
        "gemma4",
        f"<|channel>thought\n{THOUGHT}<channel|>{SAID}",
        _gemma("<|tool_call>", "<tool_call|>", '<|"|>'),
    ),
    Recorded(
        "functiongemma",
        _THINK,
        _gemma("<start_function_call>", "<end_function_call>", "<escape>"),
    ),
    Recorded("lfm2", _THINK, f"<|tool_call_start|>[{_PYTHON}, now()]<|tool_call_end|>"),
    Recorded("olmo3", _THINK, f"<function_calls>\n{_PYTHON}\nnow()\n</function_calls>"),
    Recorded("glm", _THINK, _keys("", "")),
    Recorded("qwen3-coder", _THINK, _functions("<tool_call>", "</tool_call>", "\n")),
    Recorded("functionary-v3.2", f"all\n{SAID}", f">>>find\n{_JSON}>>>now\n{{}}"),
    Recorded(
        "functionary-v3.1",
        _THINK,
        f"<function=find>{_JSON}</function><function=now>{{}}</function>",
    ),
    Recorded("functools", _THINK, f" functools[{_FIND}, {_NOW}]"),
    Recorded(
        "command-r-plus",
        _THINK,
        f'\nAction:\n```json\n[\n  {{"tool_name": "find", "parameters": {_JSON}}},\n  '
        '{"tool_name": "now", "parameters": {}}\n]```\n',
    ),
    Recorded(
        "mistral",
        _THINK,
        f"[TOOL_CALLS]find[CALL_ID]123456789[ARGS]{_JSON}[TOOL_CALLS]now[ARGS]{{}}",
    ),
    Recorded("mistral", _THINK, f"[TOOL_CALLS][{_FIND}, {_NOW}]"),
    Recorded("json-lists", _THINK, f"<tool_calls>[{_FIND}, {_NOW}]</tool_calls>"),
    Recorded("json-lists", _THINK, f'<|tools_prefix|>[{{"find": {_JSON}}}, {{"now": {{}}}}]'),
    Recorded(
        "hermes",
        _THINK,
        f"<tool_call>\n{_FIND}\n</tool_call>\n<tool_call>\n{_NOW}\n</tool_call>",
    ),
    Recorded(
        "llama", _THINK, f'<|python_tag|>{_PARAMETERS}; {{"name": "now", "parameters": null}}'
    ),
    Recorded("general", _THINK, f"<function_call>[{_FIND}, {_NOW}]</function_call>"),
)
BARE = (
    Recorded("llama", "", f"{_PARAMETERS}; {_NOW}"),
    Recorded("llama", "", f"[{_PYTHON}, now()]"),
    Recorded("general", "", f"```json\n[{_FIND}, {_NOW}]\n```"),
)
"""Calls without marks, which are nothing but the whole answer."""
