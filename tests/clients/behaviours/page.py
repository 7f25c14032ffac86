"""The list of behaviours in docs/clients.md.

``python -m tests.clients.behaviours.page`` renews it.
"""

from __future__ import annotations

from itertools import groupby

from tests.clients.behaviours import around, chats, forms, messages, streams, texts  # noqa: F401
from tests.clients.behaviours.listing import ABSENT, BEHAVIOURS, Behaviour
from tests.clients.page import PAGE
from tests.clients.served import ROOT

_TITLE = "## What peers' servers are tested for\n"
_INTRODUCTION = """
Behaviours that tests of the servers of vLLM, llama.cpp and SGLang check (a selection, read on
2026-12-01), each with a check of its own in `tests/clients/behaviours`: {right} are right
here, {absent} are not offered and refused by name, {otherwise} are otherwise by design.
"""


def listed() -> str:
    """The last section of the page."""
    states = [one.state for one in BEHAVIOURS]
    right, absent = states.count("right"), states.count(ABSENT)
    text = _TITLE + _INTRODUCTION.format(
        right=right, absent=absent, otherwise=len(states) - right - absent
    )
    for topic, group in groupby(BEHAVIOURS, key=lambda one: one.topic):
        rows = "\n".join(map(_row, group))
        text += f"\n### {topic}\n\n| behaviour | tested by | here |\n|---|---|---|\n{rows}\n"
    return text


def _row(one: Behaviour) -> str:
    return f"| {one.says} | {', '.join(one.peers)} | {one.state} |"


if __name__ == "__main__":
    page = PAGE.partition(_TITLE)[0].rstrip() + "\n\n" + listed()
    (ROOT / "docs" / "clients.md").write_text(page, encoding="utf-8")
