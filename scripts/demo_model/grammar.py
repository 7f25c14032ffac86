"""Reads the phrasings in `templates/` and expands one of them into text with entity slots.

A template file has `# section` headings. Below them, each line is one phrasing: an optional `*`
(held out: the training never uses it), its kind, and a text in which `(a|b)` is a free choice and
`{slot}` an entity. Kinds: `s` a statement, `r` a request (an infinitive in English), `p` a message
that stands alone, `-` a ready sentence. Knows nothing about entity values or answers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

from .catalog import INDUSTRIES

_FOLDER = Path(__file__).parent / "templates"
_LINE = re.compile(r"(?P<held_out>\* )?(?:(?P<kind>[srp-]) )?(?P<text>.+)")
_INNERMOST_CHOICE = re.compile(r"\(([^()]*)\)")


@dataclass(frozen=True)
class Template:
    """One phrasing; `name` tells its file, section and line."""

    name: str
    kind: str
    held_out: bool
    text: str


Grammar = dict[str, tuple[Template, ...]]
"""Section name (a category, or a kind of sentence) to its phrasings."""


def parse(text: str, source: str) -> Grammar:
    """Raises ValueError for a line before the first heading."""
    sections: dict[str, list[Template]] = {}
    section = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith("# "):
            section = line[2:].strip()
            sections[section] = []
        elif line.strip():
            if not section:
                raise ValueError(f"{source}:{number}: a phrasing needs a '# section' above it")
            sections[section].append(_parse_line(line, f"{source}/{section}:{number}"))
    return {name: tuple(templates) for name, templates in sections.items()}


def _parse_line(line: str, name: str) -> Template:
    match = _LINE.fullmatch(line)
    if match is None:
        raise ValueError(f"{name}: cannot read {line!r}")
    kind = match["kind"] or "-"
    return Template(name, kind, match["held_out"] is not None, match["text"])


@cache
def load(language: str) -> Grammar:
    """All sections of a language: its common sentences and the categories of every industry."""
    grammar: Grammar = {}
    for topic in ("common", *INDUSTRIES):
        source = f"{topic}.{language}"
        grammar |= parse((_FOLDER / f"{source}.txt").read_text(encoding="utf-8"), source)
    return grammar


def choose(grammar: Grammar, section: str, rng: Random, *, held_out: bool) -> Template:
    return rng.choice([t for t in grammar[section] if t.held_out == held_out])


def expand(template: Template, rng: Random) -> str:
    """Settles every choice, innermost first; the slots stay."""
    text = template.text
    while "|" in text and _INNERMOST_CHOICE.search(text):
        text = _INNERMOST_CHOICE.sub(lambda m: rng.choice(m[1].split("|")), text)
    return re.sub(r"  +", " ", text).strip()
