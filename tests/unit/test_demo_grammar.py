"""The grammar of the demo model: answers are true, and training stays off the held-out half."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from random import Random

import pytest

_ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(_ROOT / "scripts"))

from demo_model import catalog, compose, conversation, entities, grammar, testsets  # noqa: E402

_HELD_OUT = compose.Source(held_out_templates=True, held_out_values=True)
_KEYS = ["industry", "category", "urgency", "entities", "summary"]


def _sample(number: int, source: compose.Source, seed: int = 11) -> list[compose.Example]:
    rng = Random(seed)
    return [compose.sample(rng, source) for _ in range(number)]


@pytest.fixture(scope="module")
def training_sample() -> list[compose.Example]:
    return _sample(4000, compose.TRAINING)


@pytest.fixture(scope="module")
def held_out_sample() -> list[compose.Example]:
    return _sample(2000, _HELD_OUT)


def _templates(language: str) -> list[grammar.Template]:
    return [t for templates in grammar.load(language).values() for t in templates]


def test_answers_are_json_with_stable_keys(training_sample: list[compose.Example]) -> None:
    for example in training_sample:
        answer = json.loads(example.answer)
        assert list(answer) == _KEYS
        assert answer["industry"] in catalog.INDUSTRIES
        assert answer["urgency"] in catalog.URGENCIES
        order = [catalog.ENTITY_TYPES.index(entity) for entity in answer["entities"]]
        assert order == sorted(order)
        assert "\n" not in answer["summary"]


def test_every_entity_occurs_in_the_message(
    training_sample: list[compose.Example], held_out_sample: list[compose.Example]
) -> None:
    for example in training_sample + held_out_sample:
        for value in example.entities.values():
            assert value in example.message


def test_no_slot_or_choice_is_left_open(training_sample: list[compose.Example]) -> None:
    for example in training_sample:
        assert not set("{}|<>") & set(example.message), example.message


def test_training_never_uses_a_held_out_phrasing(training_sample: list[compose.Example]) -> None:
    held_out = {t.name for lang in catalog.LANGUAGES for t in _templates(lang) if t.held_out}
    used = {name for example in training_sample for name in example.templates}
    assert not used & held_out


def test_evaluation_uses_held_out_phrasings_only(held_out_sample: list[compose.Example]) -> None:
    held_out = {t.name for lang in catalog.LANGUAGES for t in _templates(lang) if t.held_out}
    assert {name for example in held_out_sample for name in example.templates} <= held_out


def _as_pattern(template: grammar.Template) -> re.Pattern[str]:
    """Matches whatever the phrasing can expand to, with its slots left in."""
    pattern = re.sub(r"[^()|]+", lambda m: re.escape(m[0]), template.text)
    return re.compile(pattern.replace("(", "(?:"))


def test_no_training_phrasing_can_say_what_a_held_out_one_says() -> None:
    rng = Random(3)
    for language in catalog.LANGUAGES:
        for templates in grammar.load(language).values():
            patterns = [_as_pattern(t) for t in templates if not t.held_out]
            held_out = [t for t in templates if t.held_out]
            for text in {grammar.expand(t, rng) for t in held_out for _ in range(8)}:
                assert not any(p.fullmatch(text) for p in patterns), text


def test_training_values_are_not_held_out(training_sample: list[compose.Example]) -> None:
    for example in training_sample:
        for entity, value in example.entities.items():
            assert not entities.is_held_out(entity, value), (entity, value)


def test_evaluation_values_are_held_out(held_out_sample: list[compose.Example]) -> None:
    for example in held_out_sample:
        for entity, value in example.entities.items():
            assert entities.is_held_out(entity, value), (entity, value)


def test_every_section_has_both_sides() -> None:
    for language in catalog.LANGUAGES:
        for section, templates in grammar.load(language).items():
            assert {t.held_out for t in templates} == {True, False}, (language, section)


def test_both_languages_know_every_category() -> None:
    for language in catalog.LANGUAGES:
        assert set(catalog.CATEGORIES) <= set(grammar.load(language))


def test_a_cue_decides_the_urgency() -> None:
    fee, loss = catalog.CATEGORIES["fee_dispute"], catalog.CATEGORIES["card_lost"]
    assert [catalog.urgency_of(fee, cue) for cue in (None, "high", "low")] == [
        "normal",
        "high",
        "low",
    ]
    assert catalog.urgency_of(loss, None) == "high"


def test_summary_names_at_most_two_key_entities() -> None:
    category = catalog.CATEGORIES["refund_request"]
    found = {"order": "AB12", "amount": "$30", "product": "lamp"}
    assert catalog.summary_of(category, found, "en") == "Refund request: order AB12, $30"
    assert catalog.summary_of(category, {}, "zh") == "退款申请"


def test_the_same_seed_gives_the_same_chats() -> None:
    first, second = ([conversation.converse(Random(s)) for s in range(50)] for _ in range(2))
    assert first == second
    assert conversation.converse(Random(1)) != conversation.converse(Random(2))


def test_chats_end_with_the_answer_and_some_have_two_turns() -> None:
    rng = Random(5)
    chats = [conversation.converse(rng) for _ in range(600)]
    assert all(chat[-1]["role"] == "assistant" for chat in chats)
    two_turns = sum(sum(m["role"] == "user" for m in chat) == 2 for chat in chats)
    assert 30 <= two_turns <= 90


def test_parse_reads_sections_kinds_and_held_out_marks() -> None:
    parsed = grammar.parse("# loss\ns a (b|c)\n* r {x}\n- ready\n", "test")
    assert [(t.kind, t.held_out, t.text) for t in parsed["loss"]] == [
        ("s", False, "a (b|c)"),
        ("r", True, "{x}"),
        ("-", False, "ready"),
    ]
    assert grammar.expand(parsed["loss"][0], Random(0)) in {"a b", "a c"}


def test_parse_refuses_a_phrasing_outside_of_a_section() -> None:
    with pytest.raises(ValueError, match="needs a '# section'"):
        grammar.parse("s lost\n", "test")


def test_handwritten_messages_are_consistent() -> None:
    cases = testsets.load_handwritten()
    assert len(cases) >= 24
    assert {case.language for case in cases} == set(catalog.LANGUAGES)
    for case in cases:
        category = catalog.CATEGORIES[case.expected["category"]]
        assert case.expected["industry"] == category.industry
        assert case.expected["urgency"] in catalog.URGENCIES
        for entity, value in case.expected["entities"].items():
            assert entity in catalog.ENTITY_TYPES
            assert value in case.message
