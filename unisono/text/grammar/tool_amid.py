"""Calls amid text, and calls that are an answer's whole text, told from what is none."""

from __future__ import annotations

import json
from typing import Any

from unisono.text.grammar.ecma_pattern import literal_pattern
from unisono.text.grammar.rules import Writer

_NAME_KEYS = "name|tool_name|function"
_ARGUMENT_KEYS = "arguments|parameters"


def amid(node: dict[str, Any], writer: Writer) -> str:
    """Symbols of answers that are text with calls in it.

    Args:
        node: ``amid``: lists that begin with the letters that come first, perhaps none;
            ``never``: letters that the text has nowhere else; ``bare``: nodes of answers that are
            calls; ``joins``: letters that text behind a call does not begin with; ``names`` of the
            tools.
    """
    rules = writer.rules
    text = rules.text_without(node["never"])
    if node["joins"]:
        text = rules.terminal(f"{text} & ~/\\s*[{node['joins']}](?s:.*)/")
    tagged = rules.named(_led(node["amid"], text, writer))
    if not node["bare"]:
        return f"{tagged}* {text}"
    first = rules.terminal(f"{text} & ~/{_begins(node['names'])}(?s:.*)/")
    begun = rules.named(_led(node["amid"], first, writer))
    whole = [*(_begun(bare, writer) for bare in node["bare"]), first, f"{begun} {tagged}* {text}"]
    return rules.named(" | ".join(whole))


def _led(nodes: list[list[Any]], text: str, writer: Writer) -> str:
    """One of the nodes, behind text."""
    leads = [f"{text} {json.dumps(lead)}" if lead else text for lead, *_ in nodes]
    heads = [writer.rules.terminal(lead) for lead in leads]
    rests = [writer.symbols(rest) for _, *rest in nodes]
    return " | ".join(f"{head} {rest}" for head, rest in zip(heads, rests, strict=True))


def _begun(node: list[Any], writer: Writer) -> str:
    """A call whose letters up to its arguments are one terminal: it is told from text by them."""
    count = next(i for i, one in enumerate(node) if not _is_letters(one))
    return f"{writer.rules.terminal(writer.symbols(node[:count]))} {writer.symbols(node[count:])}"


def _is_letters(node: Any) -> bool:
    return isinstance(node, str) or (isinstance(node, dict) and "regex" in node)


def _begins(names: list[str]) -> str:
    """The beginning of a call that no mark announces, in one of the ways that are read as such."""
    name = "|".join(map(literal_pattern, names))
    key = "|".join(
        [
            f'"({_NAME_KEYS})"\\s*:\\s*("({name})"|\\{{)',
            f'"({_ARGUMENT_KEYS})"\\s*:',
            f'"({name})"\\s*:\\s*\\{{',
        ]
    )
    return f"\\s*(```(json)?\\s*)?(\\[\\s*)?(\\{{\\s*({key})|({name})\\()"
