"""Writes the scores as JSON, as docs/demo-model.md and as the model card. States only what ran."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from . import catalog, entities

_SET_TITLES = {
    "held_out": "held-out phrasings, held-out values",
    "new_values": "seen phrasings, held-out values",
    "two_turns": "as the first, second turn of a chat",
    "handwritten": "written by hand, not from the grammar",
}
_FIELD_TITLES = {
    "valid_json": "valid JSON",
    "exact_match": "whole object exact",
    "exact_match_without_summary": "exact but for the summary",
    "industry": "industry",
    "category": "category",
    "urgency": "urgency",
    "entities": "all entities exact",
    "summary": "summary exact",
}
_EXAMPLE_MISTAKES = 8


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def _overall(sets: dict[str, Any]) -> str:
    header = ("", *(f"{_SET_TITLES[name]} ({s['messages']})" for name, s in sets.items()))
    rows = [
        (title, *(_percent(s["all"][field]) for s in sets.values()))
        for field, title in _FIELD_TITLES.items()
    ]
    return table(header, rows)


def _by_language(sets: dict[str, Any]) -> str:
    columns = [
        (name, language) for name in ("held_out", "handwritten") for language in ("en", "zh")
    ]
    header = ("", *(f"{name.replace('_', '-')}, {language}" for name, language in columns))
    rows = [
        (title, *(_percent(sets[name]["by_language"][lang][field]) for name, lang in columns))
        for field, title in _FIELD_TITLES.items()
    ]
    return table(header, rows)


def _entity_table(scores: dict[str, dict[str, float]]) -> str:
    rows = [
        (entity, int(s["expected"]), _percent(s["precision"]), _percent(s["recall"]))
        for entity, s in scores.items()
    ]
    return table(("entity", "expected", "precision", "recall"), rows)


def _confusion_table(pairs: list[dict[str, Any]], limit: int = 10) -> str:
    if not pairs:
        return "None."
    rows = [(pair["expected"], pair["given"], pair["count"]) for pair in pairs[:limit]]
    return table(("expected", "answered", "times"), rows)


def _mistakes(scores: dict[str, Any]) -> str:
    blocks = [
        f"- Message: {json.dumps(m['message'], ensure_ascii=False)}\n"
        f"  - expected: `{json.dumps(m['expected'], ensure_ascii=False)}`\n"
        f"  - answered: `{json.dumps(m['given'], ensure_ascii=False)}`"
        for m in scores["mistakes"][:_EXAMPLE_MISTAKES]
    ]
    return "\n".join(blocks) or "None."


def _answers() -> str:
    rows = []
    for industry in catalog.INDUSTRIES:
        names = [c.name for c in catalog.CATEGORIES.values() if c.industry == industry]
        rows.append((industry, ", ".join(f"`{name}`" for name in names)))
    return table(("industry", "categories"), rows)


def _urgency_rule() -> str:
    def of(base: str) -> str:
        return ", ".join(
            f"`{c.name}`" for c in catalog.CATEGORIES.values() if c.base_urgency == base
        )

    return (
        "**Urgency**: `high` when the text says that harm is happening or that the answer is "
        "needed within hours; `low` when it says that there is no hurry; otherwise the category's "
        f"own: `high` for {of('high')}, `low` for {of('low')}, `normal` for all others."
    )


def _processor_time(training: dict[str, Any]) -> str:
    threads, cpu_seconds = training["recipe"]["num_threads"], training["cpu_seconds"]
    share = cpu_seconds / (threads * training["seconds"])
    return (
        f"{cpu_seconds / 60:.1f} min in {threads} threads: the training had {_percent(share)} of "
        f"the {threads} cores, other programs the rest"
    )


def _making(training: dict[str, Any]) -> str:
    rows = [
        ("command", f"`{training['command']}`"),
        ("date", training["date"]),
        ("shape", training["shape"]),
        ("parameters", f"{training['parameters']:,}"),
        ("checkpoint", f"{training['folder_bytes'] / 1e6:.1f} MB in the repository"),
        ("steps", f"{training['steps']:,}"),
        ("tokens seen", f"{training['num_tokens']:,}"),
        (
            "elapsed",
            f"{training['seconds'] / 60:.1f} min, {training['tokens_per_second']:,} tokens/s",
        ),
        ("processor time", _processor_time(training)),
        ("machine", training["machine"]),
        ("final training loss", f"{training['final_loss']:.4f}"),
    ]
    return table(("", ""), rows)


def _split_rules() -> str:
    pairs = ", ".join(sorted(entities.HELD_OUT_PAIRS))
    days = ", ".join(str(day) for day in sorted(entities.HELD_OUT_DAYS))
    return f"""\
- phrasings: every line marked `*` in `scripts/demo_model/templates/`: problem statements,
  sentence frames, urgency cues, ways to name an entity, greetings and closings;
- account, order and case numbers and amounts whose first two digits are one of {pairs}; phone
  numbers that end with one of them;
- dates on day {days} of a month, and a list of relative dates;
- English place names that begin with {", ".join(entities.HELD_OUT_INITIALS)}; Chinese place names
  whose first character has a code point divisible by six;
- lists of devices and products."""


def document(scores: dict[str, Any]) -> str:
    """docs/demo-model.md."""
    sets, training = scores["sets"], scores["training"]
    held_out, handwritten = sets["held_out"], sets["handwritten"]
    return f"""\
# The demo model

<!-- Written by scripts/make_demo_model.py. Do not edit by hand. -->

The model in `unisono/demo` is an ordinary Qwen3-shaped checkpoint, small enough to live in the
repository. It reads one customer message, English or Chinese, and answers one JSON object: the
industry, the category, the urgency, the entities it found (literally as written) and a one-line
summary in the language of the message. It exists so that the engine can be tried, tested and
measured offline on a job whose answers can be checked.

{_answers()}

{_urgency_rule()}

**Entities**: {", ".join(f"`{entity}`" for entity in catalog.ENTITY_TYPES)}; only those found, in
this order. **Summary**: the category in words, then up to two of its key entities. Greetings and
small talk get the industry `other`.

## How it was made

{_making(training)}

The training text is composed by the grammar in `scripts/demo_model`: problem statements in sentence
frames, entities in varied forms and order, urgency cues, unrelated sentences, greetings, typos,
missing punctuation, lower case. In one message of five that it trains on, words are missing or
unknown words stand between the known ones. A tenth of the chats have two turns, some a system
message.

The tokenizer (byte-level BPE, {training["vocabulary"]:,} tokens) is trained on the same text; every
digit and every Han character is a token of its own, and words carry no leading space, so that a
value is cut the same way in the message and in the answer. The same seed and number of steps give
the same text, batches and learning rates.

## What training never saw

{_split_rules()}

`tests/unit/test_demo_grammar.py` checks the split.

## Scores

Greedy answers of the bfloat16 checkpoint. In brackets: number of messages.

{_overall(sets)}

By language:

{_by_language(sets)}

### Entities, held-out phrasings and values

{_entity_table(held_out["entities"])}

### Entities, handwritten

{_entity_table(handwritten["entities"])}

## What it confuses

Categories, held-out:

{_confusion_table(held_out["category_confusion"])}

Categories, handwritten:

{_confusion_table(handwritten["category_confusion"])}

Urgency, held-out:

{_confusion_table(held_out["urgency_confusion"])}

Urgency, handwritten:

{_confusion_table(handwritten["urgency_confusion"])}

The first handwritten messages it got wrong, in whole:

{_mistakes(handwritten)}

## Limits

- It knows the words of its grammar and little else. The handwritten column is what to expect of
  free text; it is a demonstration and a test subject, not a product.
- One value per entity type. Messages beyond about 150 words, or with two troubles at once, are
  outside of what it was trained on.
- It answers every message with this JSON object; it does not chat.
- All names, numbers and places in its training text are invented by random generators.
"""


def model_card(scores: dict[str, Any]) -> str:
    """unisono/demo/README.md."""
    held_out, handwritten = scores["sets"]["held_out"], scores["sets"]["handwritten"]
    rows = [
        (title, _percent(held_out["all"][field]), _percent(handwritten["all"][field]))
        for field, title in _FIELD_TITLES.items()
    ]
    header = ("", f"held-out ({held_out['messages']})", f"handwritten ({handwritten['messages']})")
    training = scores["training"]
    return f"""\
# unisono demo model

<!-- Written by scripts/make_demo_model.py. Do not edit by hand. -->

{training["parameters"]:,} parameters: {training["shape"]}.
Reads a customer message (finance, telecom, government, e-commerce; English or Chinese) and answers
one JSON object: `industry`, `category`, `urgency`, `entities`, `summary`.

Made from scratch by `{training["command"]}` from text that
a grammar composes; no other data went into it.

{table(header, rows)}

More in `docs/demo-model.md`; all figures in `scores.json`.
"""


def write(scores: dict[str, Any], folder: Path, document_path: Path) -> None:
    text = json.dumps(scores, indent=2, ensure_ascii=False) + "\n"
    (folder / "scores.json").write_text(text, encoding="utf-8")
    (folder / "README.md").write_text(model_card(scores), encoding="utf-8")
    document_path.write_text(document(scores), encoding="utf-8")
