"""Texts and conversations that tokenizers and templates are compared over: English, Chinese, other
scripts, emoji, code, white space, numbers and special tokens.
"""

from __future__ import annotations

from typing import Any

ENGLISH = [
    "",
    "a",
    "Hello, world!",
    "The quick brown fox jumps over the lazy dog.",
    "I'm sure they'll say we've got it, but it isn't what he'd want. IT'S NOT!",
    "Dr. Smith paid $1,299.99 (incl. 19% VAT) on 2026-11-30 at 09:41:07 UTC.",
    "McDonald's iPhone e-mail: first.last+tag@example.co.uk, https://example.com/a?b=c&d=%20#frag",
    "antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis",
    "WHY ARE YOU SHOUTING?! camelCase snake_case kebab-case SCREAMING_SNAKE PascalCase",
    "to be, or not to be -- that is the question: whether 'tis nobler in the mind",
]
CHINESE = [
    "你好，世界！",
    "统一的引擎在每一种硬件上给出相同的答案。",
    "我家宽带从昨天晚上八点开始就断网了，账号是 KD20481163，请尽快派人来维修。",
    "今天是2026年11月30日，星期一，气温12.5℃。",
    "中文English混合text，价格￥99.80元，Wi-Fi密码：abc123",
    "《红楼梦》第一回：甄士隐梦幻识通灵　贾雨村风尘怀闺秀",
    "繁體中文：臺灣的天氣很好。粵語：佢哋喺度食緊飯。",
    "哈哈哈哈哈哈哈哈……！！！？？",
    "𠮷野家、𰻞𰻞面、㐂",
    "，。、；：？！“”‘’（）【】《》—…·",
]
SCRIPTS = [
    "Ça va très bien; naïve café, São Paulo, Zürich, Łódź, İstanbul, ﬁn",
    "e\u0301 é n\u0303 ñ a\u0300\u0301 Å \u212b",
    "Привет, мир! Ёлка. Українська мова",
    "Γειά σου Κόσμε — ἄνθρωπος",
    "こんにちは世界。カタカナ、ﾊﾝｶｸ、漢字々",
    "안녕하세요 세계! 한국어 ㅋㅋㅋ",
    "שלום עולם مرحبا بالعالم ۱۲۳۴",
    "नमस्ते दुनिया १२३ สวัสดีชาวโลก ກິນເຂົ້າ",
    "កាន់តែពិសេសអាចខលចេញ Xin chào thế giới",
    "½ ² ③ Ⅷ １２３ 𝟜 ℵ ∑∫√≠ ≤≥ ←→ ♠♥ © ™ № ‰",
]
EMOJI = [
    "😀😃😄 🚀✅ ❤️ ☺",
    "👩‍👩‍👧‍👦 👍🏽 🇨🇳🇪🇺 🏴󠁧󠁢󠁥󠁮󠁧󠁿 😶‍🌫️",
    "I ❤ 统一 🤖! 👨‍💻写代码",
    "🫠🫡🪿🩷 (15.0) \u2764\ufe0f\u200d\U0001f525",
]
CODE = [
    "def add(a: int, b: int = 0) -> int:\n    return a + b\n\n\nprint(add(1, 2))  # 3\n",
    "for (int i = 0; i < n; ++i) { x[i] ^= y[i] << 3; } // ok\n",
    "SELECT * FROM t WHERE name LIKE '%o''clock%' AND id >= 10;",
    '{"a": [1, 2.5e-10, null, true], "b": {"c": "\\u4f60\\n"}}',
    "<html><body class='x'>&amp;&#39;<br/></body></html>",
    "if x:\n\tif y:\n\t\treturn {'a': 1}\n\telse:\n\t\tpass\n",
    "$ curl -sS -X POST \"$URL\" -H 'Content-Type: application/json' | jq '.[] | .id'",
    "\\begin{align} E &= mc^2 \\\\ \\frac{a}{b} \\end{align}",
    "```python\nimport os\n```\n| a | b |\n|---|---|\n- [x] done\n> quote\n# Title #1",
]
SPACE = [
    " ",
    "  ",
    "\n",
    "\n\n\n",
    "\t",
    " \n \t\r\n\r\n  x",
    "  leading and trailing  ",
    "many      spaces   between\u00a0no-break\u3000wide\u2009thin\u200bzero",
    "line one\r\nline two\rline three\u2028line four\n\n\n\nline five\n ",
    "a" * 200,
    " " * 70 + "x" + "\n" * 30,
    "▁▁ a▁b ▁",
]
NUMBERS = [
    "0 1 12 123 1234 12345 123456 1234567 12345678",
    "3.14159265358979, -1e-5, 0xDEADBEEF, 1_000_000, 1/2, 50%, 007",
    "+86 138-0013-8000 192.168.0.1:8080 v2.0.0-rc.1+build.5",
]
SPECIAL = [
    "<s>hi</s><unk><pad>",
    "<|im_start|>user\nhi<|im_end|>\n<|endoftext|>",
    "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|>",
    "<bos><start_of_turn>user\nhi<end_of_turn>\n<start_of_turn>model\n",
    "<｜begin▁of▁sentence｜><｜User｜>你好<｜Assistant｜><｜end▁of▁sentence｜>",
    "[INST] a [/INST] [TOOL_CALLS][IMG]<SPECIAL_20> <0x41><0xE4>",
    "<think>\n\n</think>\n<tool_call>{}</tool_call> <|fim_prefix|><|file_sep|>",
    "a<|im_end|>b <|im_end|> c<|im_end",
    "\x00\x01\x1f\x7f\ufeff\ufffd\ufffe\U0010ffff",
]
TEXTS = [*ENGLISH, *CHINESE, *SCRIPTS, *EMOJI, *CODE, *SPACE, *NUMBERS, *SPECIAL]

_USER = {"role": "user", "content": "What's the weather in Paris & Oslo?  <b>today</b>"}
_CALL = {
    "id": "call00001",
    "type": "function",
    "function": {"name": "get_weather", "arguments": {"city": "巴黎", "days": 2, "metric": True}},
}
_TOOL_TURNS = [
    {"role": "assistant", "content": "", "tool_calls": [_CALL]},
    {
        "role": "tool",
        "content": '{"temperature": 12.5}',
        "tool_call_id": "call00001",
        "name": "get_weather",
    },
]
TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": '天气 of a city, "now" or <later>',
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": "Which"},
                    "days": {"type": "integer", "minimum": 1},
                    "metric": {"type": "boolean"},
                },
                "required": ["city"],
            },
        },
    }
]
CONVERSATIONS: dict[str, dict[str, Any]] = {
    "one turn": {"messages": [_USER]},
    "no prompt for the answer": {"messages": [_USER], "add_generation_prompt": False},
    "system": {
        "messages": [{"role": "system", "content": "Be brief.\nAlways."}, _USER],
    },
    "several turns in Chinese": {
        "messages": [
            {"role": "system", "content": "你是一个有用的助手。"},
            {"role": "user", "content": "你好！介绍一下你自己。"},
            {"role": "assistant", "content": "  我是一个语言模型，可以回答问题。\n"},
            {"role": "user", "content": "用一句话总结：《红楼梦》讲了什么？"},
        ],
    },
    "reasoning": {
        "messages": [
            {"role": "user", "content": "2+2?"},
            {"role": "assistant", "content": "4.", "reasoning_content": "Two and two\nare four."},
            {"role": "user", "content": "再加3？"},
        ],
    },
    "thoughts in the text": {
        "messages": [
            {"role": "user", "content": "2+2?"},
            {"role": "assistant", "content": "<think>\nEasy.\n</think>\n\n4."},
            {"role": "user", "content": "+3?"},
        ],
        "template_kwargs": {"enable_thinking": False},
    },
    "tools": {"messages": [_USER], "tools": TOOLS},
    "a tool's answer": {"messages": [_USER, *_TOOL_TURNS], "tools": TOOLS},
    "after a tool's answer": {
        "messages": [
            {"role": "system", "content": "Use tools."},
            _USER,
            *_TOOL_TURNS,
            {"role": "assistant", "content": "It is 12.5 °C."},
            {"role": "user", "content": "谢谢"},
        ],
        "tools": TOOLS,
    },
    "two users in a row": {"messages": [_USER, {"role": "user", "content": "And Rome?"}]},
    "begins with the assistant": {
        "messages": [{"role": "assistant", "content": "Hi!"}, {"role": "user", "content": "Hi."}],
    },
    "a role nobody knows": {"messages": [{"role": "critic", "content": "Hm."}, _USER]},
}
