"""The content of messages: text in one piece or in parts, in the form that a template wants.

Templates of the field take texts, lists of parts, or both, and which may differ from role to role.
What one takes is found by trying: words no model would say are rendered in either form, and a form
is good if they come out whole. Knows nothing of how templates are rendered.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from unisono.core.errors import InvalidRequestError

ContentForm = Literal["text", "parts", "one part", "text or parts", "text, left out"]
Content = str | list[str]
_TEXT_FIELDS = {"text": "text", "input_text": "text", "output_text": "text", "refusal": "refusal"}
_NEEDS_CONTENT = frozenset({"system", "developer", "user", "tool"})
_FIRST, _SECOND = "unisono7first", "unisono7second"
_SPELT_OUT = re.compile(r"""['"](?:type|text)['"]\s*[:=]""")
"""A list that was printed instead of what it holds."""
_NUM_CHARS_AROUND = 64


def read_content(message: Mapping[str, Any], index: int) -> Content | None:
    """A message's text, or the texts of its parts; ``None`` where an assistant says nothing.

    Raises:
        InvalidRequestError: there is none, or a part is no text.
    """
    content = message.get("content")
    where = f"messages[{index}].content"
    if content is None:
        if message.get("role") in _NEEDS_CONTENT:
            raise InvalidRequestError("A message needs content.", param=where)
        return None
    if isinstance(content, str):
        return content
    if not isinstance(content, (list, tuple)):
        raise InvalidRequestError("The content of a message is text or parts.", param=where)
    return [_part_text(part, f"{where}[{number}]") for number, part in enumerate(content)]


def write_content(content: Content, form: ContentForm) -> str | list[dict[str, str]]:
    """The content in a form of the template. Parts become one text with line breaks between them,
    as in vLLM and llama.cpp: without them the end of one part would run into the next."""
    if isinstance(content, str):
        return content if "text" in form else _as_parts([content])
    if "parts" in form:
        return _as_parts(content)
    joined = "\n".join(content)
    return joined if "text" in form else _as_parts([joined])


def kept_text(messages: Sequence[Mapping[str, Any]]) -> str:
    """Joins what users, systems and tools say: templates leave none of it out,
    while they may leave out what an assistant thought."""
    return "".join(
        text.strip()
        for message in messages
        if isinstance(message, Mapping) and message.get("role") != "assistant"
        for text in _texts(message.get("content"))
    )


def find_form(
    role: str, render: Callable[[Sequence[Mapping[str, Any]]], str | None]
) -> ContentForm:
    """Finds what a template takes as the content of a role. ``render`` gives the text of messages,
    None where it fails. Where nothing comes out whole, text is the field's custom; where
    it does not fail over a text and nothing comes out, it leaves the role out."""
    of_text = render(_conversation(role, _FIRST))
    takes_text = _comes_out([_FIRST], of_text)
    takes_parts = _comes_out(
        [_FIRST, _SECOND], render(_conversation(role, _as_parts([_FIRST, _SECOND])))
    )
    if takes_parts:
        return "text or parts" if takes_text else "parts"
    if takes_text:
        return "text"
    one = render(_conversation(role, _as_parts([_FIRST])))
    if _comes_out([_FIRST], one):
        return "one part"
    return "text" if of_text is None or _FIRST in of_text else "text, left out"


def _texts(content: Any) -> list[str]:
    parts = content if isinstance(content, (list, tuple)) else [content]
    texts = [part.get("text") if isinstance(part, Mapping) else part for part in parts]
    return [text for text in texts if isinstance(text, str)]


def _part_text(part: Any, where: str) -> str:
    if isinstance(part, str):
        return part
    kind = part.get("type") if isinstance(part, Mapping) else None
    field = _TEXT_FIELDS.get(kind) if isinstance(kind, str) else None
    text = part.get(field) if field else None
    if not isinstance(text, str):
        raise InvalidRequestError(
            f"Parts of a message are text here, not {str(kind)[:40]!r}.",
            param=where,
            hint='Send {"type": "text", "text": ...} alone.',
        )
    return text


def _as_parts(texts: Sequence[str]) -> list[dict[str, str]]:
    return [{"type": "text", "text": text} for text in texts]


def _conversation(role: str, content: Any) -> list[dict[str, Any]]:
    """The shortest that templates accept in which ``role`` speaks."""
    before: dict[str, Any] = {"role": "user", "content": "a"}
    call = {"name": "f", "arguments": {}}
    calls = [{"id": "call00000", "type": "function", "function": call}]
    spoken = {"role": role, "content": content}
    if role == "assistant":
        return [before, spoken, before]
    if role == "tool":
        asking = {"role": "assistant", "content": "", "tool_calls": calls}
        return [before, asking, {**spoken, "tool_call_id": "call00000", "name": "f"}]
    return [spoken] if role == "user" else [spoken, before]


def _comes_out(words: Sequence[str], rendered: str | None) -> bool:
    if rendered is None or not all(word in rendered for word in words):
        return False
    begin, end = rendered.index(words[0]), rendered.index(words[-1])
    around = rendered[max(0, begin - _NUM_CHARS_AROUND) : end]
    return not _SPELT_OUT.search(around)
