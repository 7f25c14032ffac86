"""Rendered conversations against transformers', string for string; and the refusals."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from unisono.core.errors import CheckpointError, ContextLengthError, InvalidRequestError
from unisono.text import Tokenizer

TEMPLATES = sorted(path.stem for path in (Path(__file__).parent / "templates").glob("*.jinja"))
SYSTEM = {"role": "system", "content": "  你是一个乐于助人的助手。 Be <brief> & 'exact'.\n"}
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": '查询天气 "now" <html> & it\'s',
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "enum": ["北京", "Zürich"]}},
            "required": ["city"],
        },
    },
}
PLAIN_TOOL = {
    "type": "function",
    "function": {
        "name": "search",
        "description": "",
        "parameters": {
            "type": "object",
            "properties": {
                "query": {"type": ["string", "null"], "description": "什么", "default": "*"},
                "limits": {"type": "array", "items": {"type": "number"}},
                "where": {"oneOf": [{"type": "string", "default": "x"}, {"type": "boolean"}]},
                "deep": {"type": "object", "properties": {"a": {"type": "integer"}}},
            },
        },
    },
}
CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {
            "id": "call_1",
            "type": "function",
            "function": {
                "name": "get_weather",
                "arguments": {"city": "北京", "days": 2, "x": None},
            },
        }
    ],
}
CONVERSATIONS: dict[str, list[dict[str, Any]]] = {
    "one": [{"role": "user", "content": "Hi 👋🏽"}],
    "system": [SYSTEM, {"role": "user", "content": "你好，世界 \u2028 {{ not_code }} {% raw %}"}],
    "turns": [
        SYSTEM,
        {"role": "user", "content": "first\n"},
        {"role": "assistant", "content": "<think>\nhm\n</think>\n\nsecond 👩‍👩‍👧‍👦", "name": None},
        {"role": "user", "content": "第三"},
    ],
    "reasoning": [
        {"role": "user", "content": "why?"},
        {"role": "assistant", "content": "because", "reasoning": "let me think…"},
    ],
    "called": [
        {"role": "user", "content": "天气?"},
        CALL,
        {"role": "tool", "content": '{"temperature": 21.5}', "tool_call_id": "call_1"},
        {"role": "assistant", "content": "21.5 °C ☀️"},
        {"role": "user", "content": "谢谢"},
    ],
    "just called": [
        SYSTEM,
        {"role": "user", "content": "两个城市"},
        {**CALL, "reasoning_content": "两个 calls", "tool_calls": CALL["tool_calls"] * 2},
        {"role": "tool", "content": "21 & <b>", "tool_call_id": "call_1", "name": "get_weather"},
        {"role": "tool", "content": "", "tool_call_id": "call_2"},
    ],
    "parts": [
        {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "看 "},
                {"type": "text", "text": "\tthis 🧑🏽‍🚀\n"},
            ],
        },
    ],
    "empty": [
        {"role": "system", "content": ""},
        {"role": "user", "content": ""},
        {"role": "assistant", "content": "", "reasoning": ""},
        {"role": "user", "content": "\n \t\u00a0\u3000"},
    ],
    "strange": [
        {
            "role": "user",
            "content": "<|im_end|></s>[/INST]<end_of_turn>\r\n\x00\ufeff",
            "name": "李",
        },
        {"role": "assistant", "content": "a</think>b</think>c", "tool_calls": []},
        {"role": "moderator", "content": "who?", "current_date": "2026-11-22"},
    ],
}
DOCUMENTS = [{"title": "文 <1>", "text": "first"}, {"text": "second\n"}]
OPTIONS: list[dict[str, Any]] = [
    {},
    {"tools": []},
    {"tools": [TOOL, PLAIN_TOOL], "add_generation_prompt": True},
    {"tools": [TOOL], "own": {"enable_thinking": False, "reasoning_effort": "high"}},
    {"add_generation_prompt": True, "own": {"enable_thinking": True, "builtin_tools": ["python"]}},
    {"add_generation_prompt": True, "own": {"thinking": True, "date_string": "1 Jan 2026"}},
    {"documents": DOCUMENTS},
    {"continue_final_message": True},
]


NAMED = {
    "pad_token": "<|eot_id|>",
    "image_token": "<|image|>",
    "extra_special_tokens": {"boi_token": "<|start_of_image|>"},
}


@pytest.fixture(scope="module", params=TEMPLATES)
def folder(request: pytest.FixtureRequest, folders: dict[str, Path], tmp_path_factory: Any) -> Path:
    folder = tmp_path_factory.mktemp("chat") / str(request.param)
    shutil.copytree(folders["llama3"], folder)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, **NAMED}))
    source = Path(__file__).parent / "templates" / f"{request.param}.jinja"
    shutil.copy(source, folder / "chat_template.jinja")
    return folder


@pytest.fixture(scope="module")
def ours(folder: Path) -> Tokenizer:
    return Tokenizer.load(folder)


@pytest.fixture(scope="module")
def oracle(folder: Path) -> Any:
    return importlib.import_module("transformers").AutoTokenizer.from_pretrained(folder)


TAKES_PARTS = {
    "turns": ("system", "user"),
    "channels": ("user",),
    "im_roles": ("system", "user"),
    "observation": ("system", "user"),
    "xml_calls": ("system", "user"),
}
"""Roles whose content may be parts, by template; elsewhere it is text."""


def as_taken(template: str, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages with parts in one piece where the template does not take them."""
    return [
        {**message, "content": "\n".join(part["text"] for part in content)}
        if isinstance(content := message.get("content"), list)
        and message["role"] not in TAKES_PARTS.get(template, ())
        else message
        for message in messages
    ]


def rendered_by_transformers(oracle: Any, messages: Any, own: Any, **options: Any) -> Any:
    """The text, or the error that the template or transformers raised."""
    try:
        return oracle.apply_chat_template(messages, tokenize=False, **options, **own)
    except Exception as error:
        return error


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_renders_as_transformers(ours: Tokenizer, oracle: Any, name: str, folder: Path) -> None:
    messages = CONVERSATIONS[name]
    told = as_taken(folder.name, messages)
    for given in OPTIONS:
        options = {"add_generation_prompt": False, **given}
        own = options.pop("own", {})
        expected = rendered_by_transformers(oracle, told, own, **options)
        if isinstance(expected, str):
            assert ours.render_chat(messages, **options, template_kwargs=own) == expected
            continue
        with pytest.raises(InvalidRequestError) as caught:
            ours.render_chat(messages, **options, template_kwargs=own)
        if type(expected).__name__ in ("TemplateError", "UndefinedError"):
            assert str(expected)[:200] in str(caught.value)


def test_every_template_renders_most_conversations(ours: Tokenizer) -> None:
    """So that the comparison above compares texts, not refusals."""
    served = []
    for name, messages in CONVERSATIONS.items():
        try:
            ours.render_chat(messages, tools=[TOOL])
            served.append(name)
        except InvalidRequestError:
            pass
    assert {"one", "system", "turns", "reasoning", "called"} <= set(served)


def test_tokens_of_a_conversation_equal_transformers(ours: Tokenizer, oracle: Any) -> None:
    for name in ("turns", "called"):
        expected = oracle.apply_chat_template(
            CONVERSATIONS[name], add_generation_prompt=True, return_dict=False
        )
        assert ours.encode_chat(CONVERSATIONS[name]) == expected


@pytest.mark.parametrize(
    "content",
    ["The answer is", "ends in space ", "", [{"type": "text", "text": "part "}]],
)
def test_continues_the_final_message_as_transformers(
    ours: Tokenizer, oracle: Any, content: Any, folder: Path
) -> None:
    if not isinstance(content, str) and folder.name != "turns":
        pytest.skip("a template of plain contents")
    messages = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": content}]
    expected = oracle.apply_chat_template(messages, tokenize=False, continue_final_message=True)
    got = ours.render_chat(messages, add_generation_prompt=False, continue_final_message=True)
    assert got == expected
    assert messages[1]["content"] == content


def with_template(folders: dict[str, Path], tmp_path: Path, template: Any) -> Tokenizer:
    folder = tmp_path / "model"
    shutil.copytree(folders["qwen"], folder)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": template}))
    return Tokenizer.load(folder)


HI = [{"role": "user", "content": "hi"}]


def test_a_template_may_refuse(folders: dict[str, Path], tmp_path: Path) -> None:
    source = (Path(__file__).parent / "templates" / "inst.jinja").read_text("utf-8")
    tokenizer = with_template(folders, tmp_path, source)
    with pytest.raises(InvalidRequestError, match="roles must alternate") as caught:
        tokenizer.render_chat(HI * 2)
    assert caught.value.param == "messages"
    assert "hi" in tokenizer.render_chat(HI)


TWO_PARTS = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]


@pytest.mark.parametrize(
    ("shown", "text", "parts"),
    [
        ("{{ m.content }}", "both", "one\ntwo"),
        ("{{ m['content'] | trim }}", "both", "one\ntwo"),
        ("{{ m.content | tojson }}", '"both"', '"one\\ntwo"'),
        ("{% for c in m.content %}{{ c.text }};{% endfor %}", "both;", "one;two;"),
        (
            "{% for c in m.content if c.type == 'text' %}{{ c['text'] }}{% endfor %}",
            "both",
            "onetwo",
        ),
        (
            "{% set parts = m.content %}{% for c in parts %}{{ c.text }}{% endfor %}",
            "both",
            "onetwo",
        ),
        ("{{ m.content | map(attribute='text') | join('-') }}", "both", "one-two"),
        ("{{ m.content[0].text }}", "both", "one\ntwo"),
        ("{{ m.content[0]['text'] + '!' }}", "both!", "one\ntwo!"),
        (
            "{% if m.content is string %}{{ m.content }}{% else %}"
            "{% for c in m.content %}[{{ c.text }}]{% endfor %}{% endif %}",
            "both",
            "[one][two]",
        ),
        (
            "{{ m.content if m.content is string else raise_exception('text!') }}",
            "both",
            "one\ntwo",
        ),
    ],
)
@pytest.mark.parametrize("role", ["user", "assistant", "system", "tool"])
def test_content_in_the_form_that_the_template_takes(
    folders: dict[str, Path], tmp_path: Path, shown: str, text: str, parts: str, role: str
) -> None:
    template = (
        "{% for m in messages %}{% if m.role == '" + role + "' %}" + shown + "{% else %}"
        "{{ m.content }}{% endif %}{% endfor %}"
    )
    tokenizer = with_template(folders, tmp_path, template)
    assert tokenizer.render_chat([{"role": role, "content": "both"}]) == text
    assert tokenizer.render_chat([{"role": role, "content": TWO_PARTS}]) == parts
    joined = tokenizer.render_chat([{"role": role, "content": ["one", "two"]}])
    assert joined == parts
    assert tokenizer.render_chat([{"role": role, "content": tuple(TWO_PARTS)}]) == parts


def test_roles_may_take_different_forms(folders: dict[str, Path], tmp_path: Path) -> None:
    template = (
        "{% if messages[0].role == 'system' %}{{ messages[0].content | trim }}{% endif %}"
        "{% for m in messages if m.role != 'system' %}"
        "{% for c in m.content %}<{{ c.text }}>{% endfor %}{% endfor %}"
    )
    tokenizer = with_template(folders, tmp_path, template)
    messages = [{"role": "system", "content": TWO_PARTS}, {"role": "user", "content": "hi"}]
    assert tokenizer.render_chat(messages) == "one\ntwo<hi>"


@pytest.mark.parametrize("calls", [{}, {"tool_calls": None}, {"tool_calls": CALL["tool_calls"]}])
@pytest.mark.parametrize(
    "shown", ["{{ m.content }}", "{{ m.content + '' }}", "{{ m['content'].strip() }}"]
)
def test_an_assistant_may_say_nothing(
    folders: dict[str, Path], tmp_path: Path, calls: dict[str, Any], shown: str
) -> None:
    template = "{% for m in messages %}[" + shown + "]{% endfor %}"
    tokenizer = with_template(folders, tmp_path, template)
    for said in ({"content": None}, {}):
        messages = [*HI, {"role": "assistant", **said, **calls}, *HI]
        assert tokenizer.render_chat(messages) == "[hi][][hi]"
    for role in ("user", "system", "tool"):
        with pytest.raises(InvalidRequestError, match="needs content") as caught:
            tokenizer.render_chat([*HI, {"role": role, "content": None}])
        assert caught.value.param == "messages[1].content"


@pytest.mark.parametrize(
    "part",
    [{"type": "image", "image": "x"}, {"type": "text"}, {"text": "x"}, 5, {"type": {}}, None],
)
def test_a_part_that_is_no_text_is_refused(
    folders: dict[str, Path], tmp_path: Path, part: Any
) -> None:
    tokenizer = with_template(folders, tmp_path, "{{ messages[0].content }}")
    with pytest.raises(InvalidRequestError, match="Parts of a message are text") as caught:
        tokenizer.render_chat([{"role": "user", "content": [TWO_PARTS[0], part]}])
    assert caught.value.param == "messages[0].content[1]"


def test_arguments_of_tool_calls_as_the_template_wants_them(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    """Objects, and text only where the template fails over objects."""
    loop = (
        "{%% for m in messages %%}{%% for c in m.tool_calls or [] %%}{{ %s }}"
        "{%% endfor %%}{%% endfor %%}"
    )
    arguments = "c.function.arguments"
    text = '{"city": "北京", "days": 2, "x": null}'
    for expression, expected in (
        (f"'<' + {arguments} + '>'", f"<{text}>"),
        (f"{arguments} | tojson", text),
        (f"{arguments}.items() | list | length", "3"),
    ):
        tokenizer = with_template(folders, tmp_path / str(len(expression)), loop % expression)
        assert tokenizer.render_chat([*HI, CALL]) == expected
    for expression, complaint in ((f"{arguments} / 2", "operand"), ("c.no.no", "no attribute")):
        tokenizer = with_template(folders, tmp_path / complaint, loop % expression)
        with pytest.raises(InvalidRequestError, match=complaint):
            tokenizer.render_chat([*HI, CALL])


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        ("{{ messages[0].nothing.more }}", "UndefinedError"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{{ messages.append(1) }}", "SecurityError"),
        ("{{ ''.__class__.__mro__ }}", "SecurityError"),
        ("{{ namespace(_x=1) }}", "SecurityError"),
        ("{{ dict.__class__.x }}", "SecurityError"),
    ],
)
def test_errors_inside_a_template_fail_the_request(
    folders: dict[str, Path], tmp_path: Path, template: str, complaint: str
) -> None:
    tokenizer = with_template(folders, tmp_path, template)
    with pytest.raises(InvalidRequestError, match=complaint):
        tokenizer.render_chat(HI)


@pytest.mark.parametrize("template", ["{% if %}", "{{ x", "{% nothing %}", "{{ 'a' | no_filter }}"])
def test_a_template_that_does_not_compile(
    folders: dict[str, Path], tmp_path: Path, template: str
) -> None:
    tokenizer = with_template(folders, tmp_path, template)
    with pytest.raises(CheckpointError, match="does not compile"):
        tokenizer.check_chat_template()
    with pytest.raises(CheckpointError, match="does not compile"):
        tokenizer.render_chat(HI)


def test_a_model_without_a_template(tokenizers_by_style: dict[str, Tokenizer]) -> None:
    tokenizers_by_style["qwen"].check_chat_template()
    with pytest.raises(InvalidRequestError, match="plain completion"):
        tokenizers_by_style["qwen"].render_chat(HI)


def test_named_templates(folders: dict[str, Path], tmp_path: Path) -> None:
    named = [
        {"name": "default", "template": "plain"},
        {"name": "tool_use", "template": "tools"},
    ]
    tokenizer = with_template(folders, tmp_path, named)
    assert tokenizer.render_chat(HI) == "plain"
    assert tokenizer.render_chat(HI, tools=[TOOL]) == "tools"
    folder = tmp_path / "model"
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tool_use.jinja").write_text("other tools")
    (folder / "chat_template.jinja").write_text("file first")
    tokenizer = Tokenizer.load(folder)
    assert tokenizer.render_chat(HI) == "file first"
    assert tokenizer.render_chat(HI, tools=[TOOL]) == "other tools"


@pytest.mark.parametrize(
    ("entry", "files"),
    [
        ("plain", {}),
        ([{"name": "default", "template": "a"}, {"name": "tool_use", "template": "b"}], {}),
        ([{"name": "default", "template": "a"}, {"name": "rag", "template": "b"}], {}),
        ([{"name": "rag", "template": "b"}], {}),
        ("config", {"chat_template.jinja": "file\r\n\n"}),
        ("config", {"additional_chat_templates/tool_use.jinja": "tools"}),
        (None, {"chat_template.jinja": "x", "additional_chat_templates/tool_use.jinja": "tools"}),
        (None, {"chat_template.jinja": ""}),
    ],
)
def test_which_template_as_transformers(
    entry: Any, files: dict[str, str], folders: dict[str, Path], tmp_path: Path
) -> None:
    with_template(folders, tmp_path, entry)
    folder = tmp_path / "model"
    (folder / "additional_chat_templates").mkdir()
    for name, text in files.items():
        (folder / name).write_text(text, newline="")
    oracle = importlib.import_module("transformers").AutoTokenizer.from_pretrained(folder)
    ours = Tokenizer.load(folder)
    for tools in (None, [], [TOOL]):
        expected = rendered_by_transformers(oracle, HI, {}, tools=tools)
        if isinstance(expected, str):
            assert ours.render_chat(HI, tools=tools, add_generation_prompt=False) == expected
        else:
            with pytest.raises((CheckpointError, InvalidRequestError)):
                ours.render_chat(HI, tools=tools)


def test_other_places_of_templates(folders: dict[str, Path], tmp_path: Path) -> None:
    shutil.copy(folders["qwen"] / "tokenizer.json", tmp_path)
    (tmp_path / "chat_template.json").write_text('{"chat_template": "legacy"}')
    assert Tokenizer.load(tmp_path).render_chat(HI) == "legacy"
    (tmp_path / "chat_template.json").write_text('{"chat_template": 5}')
    with pytest.raises(CheckpointError, match=r"chat_template\.json"):
        Tokenizer.load(tmp_path)
    (tmp_path / "chat_template.json").write_text(
        '{"chat_template": [{"name": "x", "template": ""}]}'
    )
    with pytest.raises(CheckpointError, match="default"):
        Tokenizer.load(tmp_path).render_chat(HI)


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth - 1):
        value = [value]
    return value


def test_a_conversation_of_megabytes(folders: dict[str, Path], tmp_path: Path) -> None:
    """A text is never refused for its content, only for its number of tokens."""
    tokenizer = with_template(
        folders, tmp_path, "{% for m in messages %}{{ m.content }}{% endfor %}"
    )
    text = "统一 " * (2 << 20)
    assert tokenizer.render_chat([{"role": "user", "content": text}]) == text
    for message in (
        {"role": "assistant", "content": text},
        {"role": "user", "content": " " * len(text)},
    ):
        with pytest.raises(ContextLengthError):
            tokenizer.encode_chat([message], max_tokens=10_000)


def test_wrong_arguments(folders: dict[str, Path], tmp_path: Path) -> None:
    tokenizer = with_template(folders, tmp_path, "{{ messages[-1].content }}{{ x }}")
    deep: list[Any] = []
    for _ in range(10_000):
        deep = [deep]
    for messages in ([], "hi", ["hi"], {"role": "user"}, [{"role": b"x"}], [{"content": deep}]):
        with pytest.raises(InvalidRequestError):
            tokenizer.render_chat(messages)  # type: ignore[arg-type]
    for own in (
        *({"messages": []}, {"tools": 1}, {"bos_token": "x"}, {"eos_token": ""}, {"range": 1}),
        *({"raise_exception": 1}, {"": 1}, {"x" * 300: 1}, {"x": {1: 2}}, {"x": "y" * 70_000}),
        *({"x": nested(20)}, {"x": [1] * 40_000}, {"x": {"y": {1, 2}}}, {5: 1}),
        *({"add_generation_prompt": False}, {f"x{i}": 1 for i in range(33)}, {"x": object()}),
    ):
        with pytest.raises(InvalidRequestError) as caught:
            tokenizer.render_chat(HI, template_kwargs=own)
        assert caught.value.param == "template_kwargs"
    own = {"x": [1, "a", {"b": None}], "_y": 1, "a b": nested(16)}
    assert tokenizer.render_chat(HI, template_kwargs=own) == "hi[1, 'a', {'b': None}]"
    with pytest.raises(InvalidRequestError, match="surrogate"):
        tokenizer.render_chat([{"role": "user", "content": "half \ud83d"}])
    for tools in ("x", [1], {"a": 1}):
        with pytest.raises(InvalidRequestError, match="tools"):
            tokenizer.render_chat(HI, tools=tools)  # type: ignore[arg-type]
    with pytest.raises(InvalidRequestError, match="exclude"):
        tokenizer.render_chat(HI, continue_final_message=True)
    for content in (None, 5, [{"type": "image"}]):
        with pytest.raises(InvalidRequestError):
            tokenizer.render_chat(
                [{"role": "assistant", "content": content}],
                add_generation_prompt=False,
                continue_final_message=True,
            )


def test_what_a_template_would_drop_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    users = "{% for m in messages if m.role in ('user', 'assistant') %}{{ m.content }}{% endfor %}"
    tokenizer = with_template(folders, tmp_path / "users", users)
    assert tokenizer.encode_chat(HI, tools=[], documents=[]) == tokenizer.encode_chat(HI)
    for name, given in (("tools", [TOOL]), ("documents", DOCUMENTS)):
        with pytest.raises(InvalidRequestError, match=f"{name} is not supported") as caught:
            tokenizer.encode_chat(HI, **{name: given})
        assert caught.value.param == name
    for role in ("system", "developer"):
        tokenizer.encode_chat([{"role": role, "content": ""}, *HI])
        for content in ("Be brief.", TWO_PARTS):
            with pytest.raises(InvalidRequestError, match=f"leaves out what a {role}") as caught:
                tokenizer.encode_chat([{"role": role, "content": content}, *HI])
            assert caught.value.param == "messages[0].role"
    everyone = "{% for m in messages %}{{ m.content }}{% endfor %}{{ tools }}{{ documents }}"
    tokenizer = with_template(folders, tmp_path / "everyone", everyone)
    messages = [{"role": "system", "content": "Be brief."}, *HI]
    tokenizer.encode_chat(messages, tools=[TOOL], documents=DOCUMENTS)
