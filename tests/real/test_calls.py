"""Calls that the chat templates of llama.cpp write, read back."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.answers import (
    LETTERS,
    MarkTokenizer,
    calls,
    content,
    marks_of,
    parse,
    reasoning,
    without_ids,
    written,
)
from unisono.core.errors import UnisonoError
from unisono.text.parsers.answer_format import AnswerFormat
from unisono.text.parsers.finding import find_format
from unisono.text.templates.chat_template import ChatTemplate
from unisono.text.tokenizer import Tokenizer

NAMED = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "description": "c"},
        "days": {"type": "integer", "description": "d"},
        "opts": {
            "type": "object",
            "description": "o",
            "additionalProperties": {"type": "string"},
        },
    },
    "required": ["city"],
}
TOOLS = [
    {"type": "function", "function": {"name": name, "description": "d", "parameters": SCHEMA}}
    for name in ("get_weather", "get_time")
]
SCHEMAS = {str(tool["function"]["name"]): SCHEMA for tool in TOOLS}  # type: ignore[index]
WANTED = [
    ("get_weather", {"city": 'Bern "x"\nß', "days": 3, "opts": {"a": [1, True, {"b": ""}]}}),
    ("get_time", {"city": "Köln"}),
]

END = "|".join(
    map(
        r"\s*{}".format,
        (
            r"</?s>|<\|im_end\|>|<\|eo[tm]_id\|>|<\|eot\|>|<\|end_of_text\|>|<\|end\|>\n</s>",
            r"<｜end▁of▁sentence｜>|<｜hy_eos:opensource｜>|<\|END_OF_TURN_TOKEN\|>|<seed:eos>",
            r"<turn\|>|\[e~\[|<SPECIAL_12>|</assistant>|<\|role_end\|>|<sep>|<\|end_of_msg\|>",
            r"<\|tool_response>|<\|START_OF_TURN_TOKEN\|>",
            r"<\|observation\|>|<end_of_sentence>|<\|call\|>|<\|assistant_end\|>",
        ),
    )
)
"""Tokens that end an answer, which no parser sees."""
NOT_WRITTEN = {
    "HuggingFaceTB-SmolLM3-3B": "writes no calls of earlier answers",
    "Kimi-K2-Instruct": "changes a list, which the sandbox forbids",
    "Kimi-K2-Thinking": "changes a list, which the sandbox forbids",
    "LFM2-8B-A1B": "writes no calls of earlier answers",
    "LFM2.5-Instruct": "writes no calls of earlier answers",
    "deepseek-ai-DeepSeek-R1-Distill-Llama-8B": "writes calls only without content",
    "google-gemma-2-2b-it": "knows no tools",
    "ibm-granite-granite-3.3-2B-Instruct": "writes no calls of earlier answers",
    "llama-cpp-deepseek-r1": "fails over tools",
    "llama-cpp-rwkv-world": "knows no tools",
    "microsoft-Phi-3.5-mini-instruct": "knows no tools",
}
ONE_CALL = {
    "GigaChat3-10B-A1.8B",
    "GigaChat3.1-10B-A1.8B",
    "meta-llama-Llama-3.1-8B-Instruct",
    "meta-llama-Llama-3.2-3B-Instruct",
    "meta-llama-Llama-3.3-70B-Instruct",
    "openai-gpt-oss-120b",
}
"""Their templates write the first call alone, or refuse two."""
WITH_RESULTS = {"NVIDIA-Nemotron-Nano-v2"}
"""Their templates write calls before results only."""
OPENED = {"Apriel-1.6-15b-Thinker-fixed"}
"""Their templates leave out of an answer what their prompts end with."""


def conversation(num_calls: int, **said: str) -> list[dict[str, Any]]:
    made = [
        {"id": f"abcdefgh{index}", "type": "function", "function": {"name": n, "arguments": a}}
        for index, (n, a) in enumerate(WANTED[:num_calls])
    ]
    results = [
        {"role": "tool", "tool_call_id": f"abcdefgh{index}", "name": name, "content": "ok"}
        for index, (name, _) in enumerate(WANTED[:num_calls])
    ]
    return [
        {"role": "user", "content": "Hi?"},
        {"role": "assistant", **said, "tool_calls": made},
        *results,
    ]


def answer_of(template: str, name: str, **said: str) -> tuple[str, str]:
    """The prompt, and the answer with calls behind it."""
    chat = ChatTemplate({"default": template}, variables=NAMED)
    messages = conversation(1 if name in ONE_CALL else 2, **said)
    kwargs = {"functions": "[]", "datetime": "today"} if "firefunction" in name else {}

    def render(messages: list[dict[str, Any]], *, asks: bool) -> str:
        return chat.render(
            messages,
            tools=TOOLS,
            documents=None,
            add_generation_prompt=asks,
            continue_final_message=False,
            template_kwargs=kwargs,
        )

    prompt = render(messages[:1], asks=True)
    try:
        whole = render(messages[:2], asks=False)
    except UnisonoError:
        whole = ""
    if not whole or name in WITH_RESULTS:
        whole = render(messages, asks=False)
    shared = next(
        (i for i, (a, b) in enumerate(zip(prompt, whole, strict=False)) if a != b), len(prompt)
    )
    shared -= len(re.search(r"(<[^<>]*)?$", whole[:shared]).group())
    answer = re.split(END, whole[shared:].removeprefix("<|CHATBOT_TOKEN|>"))[0]
    return prompt if name in OPENED else prompt[:shared], answer


@pytest.mark.parametrize("tokens", ["letters", "tokens"])
def test_calls_come_back(llama_cpp_models: Path, tokens: str) -> None:
    found: dict[str, str] = {}
    for path in sorted((llama_cpp_models / "templates").glob("*.jinja")):
        if path.stem in NOT_WRITTEN:
            continue
        template = path.read_text("utf-8")
        format = format_of(template)
        tokenizer = LETTERS if tokens == "letters" else MarkTokenizer(None)
        marks = marks_of(format, tokenizer)
        said = {"content": "Let me look.", "reasoning_content": "I think so."}
        if path.stem == "openai-gpt-oss-120b":
            said = {"content": "", "thinking": "I think so."}
        prompt, answer = answer_of(template, path.stem, **said)
        opens = format.thinking.opens.rstrip() if format.thinking else "\0"
        is_thinking = prompt.rstrip().endswith(opens)
        text = written(answer, format, marks)
        whole = parse(format, marks, [text], SCHEMAS, is_thinking=is_thinking)
        pieces = parse(format, marks, list(text), SCHEMAS, is_thinking=is_thinking)
        got = [(call.name, json.loads(call.arguments)) for call in calls(whole)]
        is_right = (
            got == WANTED[: 1 if path.stem in ONE_CALL else 2]
            and content(whole).strip() in ("", "Let me look.")
            and reasoning(whole) in ("", "I think so.")
            and without_ids(whole) == without_ids(pieces)
        )
        if not is_right:
            found[path.stem] = f"{format.name} {is_thinking} {answer!r}: {without_ids(whole)}"
    assert found == {}, "\n".join(map(str, found.items()))


def format_of(template: str) -> AnswerFormat:
    tokenizer = SimpleNamespace(chat_templates={"default": template}, token_id=lambda text: None)
    return find_format(cast(Tokenizer, tokenizer))


def test_templates_that_write_no_calls(llama_cpp_models: Path) -> None:
    for name in NOT_WRITTEN:
        template = (llama_cpp_models / "templates" / f"{name}.jinja").read_text("utf-8")
        try:
            _, answer = answer_of(template, name, content="Let me look.")
        except UnisonoError:
            continue
        assert "Bern" not in answer, name
