"""Every code of an error that a client may get is in the table of docs/server.md."""

from __future__ import annotations

import re
from pathlib import Path

from unisono import server

ROOT = Path(__file__).parents[3]


def test_every_code_is_documented() -> None:
    folder = Path(server.__file__).parent
    text = "".join(path.read_text(encoding="utf-8") for path in folder.rglob("*.py"))
    codes = set(re.findall(r"\bcode(?:: str)? ?= ?\"(\w+)\"", text))
    page = (ROOT / "docs" / "server.md").read_text(encoding="utf-8")
    section = page.partition("## Errors")[2].partition("\n## ")[0]
    assert len(codes) > 20
    assert codes <= set(re.findall(r"`(\w+)`", section))
