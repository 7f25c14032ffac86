"""The examples of docs/clients.md."""

from __future__ import annotations

import re

from tests.clients.served import KEY, ROOT, Served

PAGE = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")
NODE = ROOT / "tests" / "clients" / "node"


def examples(language: str) -> dict[str, str]:
    """Number and section -> code."""
    found: dict[str, str] = {}
    for section in re.split(r"^### ", PAGE, flags=re.M)[1:]:
        title = section.partition("\n")[0]
        for code in re.findall(rf"^```{language}\n(.*?)^```", section, re.M | re.S):
            found[f"{len(found)}-{title}"] = code
    return found


def pointed_at(served: Served, code: str) -> str:
    """The example, for a server that is there."""
    assert "http://127.0.0.1:8000" in code
    return (
        code.replace("http://127.0.0.1:8000", served.url)
        .replace('"KEY"', f'"{KEY}"')
        .replace("Bearer KEY", f"Bearer {KEY}")
        .replace("unisono-demo", served.model)
    )
