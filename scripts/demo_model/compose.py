"""Composes one customer message and its answer from the grammar and random entity values.

Knows nothing about tokens or training.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from random import Random

from . import entities, grammar
from .catalog import CATEGORIES, ENTITY_TYPES, LANGUAGES, Category, summary_of, urgency_of
from .noise import choose_noise

_SLOT = re.compile(r"\{(\w+)\}")
_SMALL_TALK = "other"


@dataclass(frozen=True, kw_only=True)
class Example:
    """A message, what is true about it, and which phrasings made it."""

    message: str
    language: str
    category: str
    urgency: str
    entities: dict[str, str]
    templates: tuple[str, ...]
    wording: tuple[str, ...]
    """The message cut at entity boundaries: what the tokenizer learns from."""

    @property
    def answer(self) -> str:
        category = CATEGORIES[self.category]
        return json.dumps(
            {
                "industry": category.industry,
                "category": self.category,
                "urgency": self.urgency,
                "entities": self.entities,
                "summary": summary_of(category, self.entities, self.language),
            },
            ensure_ascii=False,
            separators=(",", ":"),
        )


@dataclass(frozen=True)
class Segment:
    """A piece of a message: wording, or the value of one entity."""

    text: str
    entity: str | None = None


@dataclass(frozen=True, kw_only=True)
class Source:
    """The halves of the grammar and of the values that a message draws from, and its noise."""

    held_out_templates: bool = False
    held_out_values: bool = False
    harsh_noise: bool = False

    @property
    def values(self) -> str:
        return "held_out" if self.held_out_values else "train"


TRAINING = Source(harsh_noise=True)


class Composer:
    """Builds one message; each instance is used once."""

    def __init__(self, rng: Random, language: str, category: Category, source: Source) -> None:
        self._rng = rng
        self._language = language
        self._category = category
        self._source = source
        self._grammar = grammar.load(language)
        self._found: dict[str, str] = {}
        self._templates: list[str] = []

    def compose(self) -> Example:
        if self._category.name == _SMALL_TALK:
            cue, sentences = None, [self._stand_alone()]
        else:
            cue, sentences = self._sentences()
        segments = self._joined(sentences)
        ordered = {key: self._found[key] for key in ENTITY_TYPES if key in self._found}
        return Example(
            message="".join(segment.text for segment in segments),
            language=self._language,
            category=self._category.name,
            urgency=urgency_of(self._category, cue),
            entities=ordered,
            templates=tuple(self._templates),
            wording=tuple(segment.text for segment in segments),
        )

    def _sentences(self) -> tuple[str | None, list[list[Segment]]]:
        core = self._core()
        if not self._category.extras:
            return None, [core]
        cue = self._cue()
        extras = self._details() + self._optional("neutral", 0.3)
        if cue is not None:
            extras += self._optional(cue, 1.0)
            extras += self._optional(cue, 0.15 if cue == "high" else 0.0)
        self._rng.shuffle(extras)
        before = [extras.pop()] if extras and self._rng.random() < 0.2 else []
        start, end = self._optional("greeting", 0.45), self._optional("closing", 0.4)
        return cue, [*start, *before, core, *self._second_core(), *extras, *end]

    def _cue(self) -> str | None:
        if self._category.base_urgency == "high":
            return "high" if self._rng.random() < 0.35 else None
        return self._rng.choices((None, "high", "low"), (50, 30, 20))[0]

    def _choose(self, section: str) -> grammar.Template:
        held_out = self._source.held_out_templates
        return grammar.choose(self._grammar, section, self._rng, held_out=held_out)

    def _use(self, template: grammar.Template, text: str) -> list[Segment]:
        self._templates.append(template.name)
        return self._fill(text)

    def _core(self) -> list[Segment]:
        template = self._choose(self._category.name)
        return self._framed(template, grammar.expand(template, self._rng))

    def _framed(self, template: grammar.Template, clause: str) -> list[Segment]:
        if template.kind == "p":
            return self._use(template, clause)
        frame = self._choose(f"frame_{template.kind}")
        self._templates.append(frame.name)
        text = grammar.expand(frame, self._rng).replace("<>", clause)
        return self._use(template, text[0].upper() + text[1:])

    def _second_core(self) -> list[list[Segment]]:
        """Sometimes a second statement of the same trouble, if it repeats no entity type."""
        if self._rng.random() > 0.15 or self._category.base_urgency == "low":
            return []
        template = self._choose(self._category.name)
        clause = grammar.expand(template, self._rng)
        types = {slot_type(slot) for slot in _SLOT.findall(clause)}
        if types & self._found.keys() or template.name in self._templates:
            return []
        return [self._framed(template, clause)]

    def _details(self) -> list[list[Segment]]:
        open_types = [entity for entity in self._category.extras if entity not in self._found]
        number = min(self._rng.choice((0, 0, 1, 1, 1, 2, 2, 3)), len(open_types))
        return [self._sentence(f"detail_{e}") for e in self._rng.sample(open_types, number)]

    def _optional(self, section: str, probability: float) -> list[list[Segment]]:
        return [self._sentence(section)] if self._rng.random() < probability else []

    def _sentence(self, section: str) -> list[Segment]:
        template = self._choose(section)
        return self._use(template, grammar.expand(template, self._rng))

    def _stand_alone(self) -> list[Segment]:
        ends = (".", "!", "?", "") if self._language == "en" else ("。", "！", "？", "")
        sentence = self._sentence(_SMALL_TALK)
        first = sentence[0].text
        start = first[0].upper() + first[1:] if self._rng.random() < 0.6 else first
        return [Segment(start), *sentence[1:], Segment(self._rng.choice(ends))]

    def _fill(self, text: str) -> list[Segment]:
        """Cuts `text` at its slots and puts a value into each of them."""
        segments: list[Segment] = []
        for position, part in enumerate(_SLOT.split(text)):
            if position % 2 == 0:
                segments.append(Segment(part))
            else:
                segments += self._value(part)
        return segments

    def _value(self, slot: str) -> list[Segment]:
        prefix = ""
        if slot == "when":
            slot = self._rng.choice(("relative", "date"))
            prefix = "on " if slot == "date" and self._language == "en" else ""
        entity, generate = entities.GENERATORS[slot]
        if entity in self._found:
            raise ValueError(f"{self._templates[-1]} fills {entity} twice")
        value = generate(self._rng, self._source.values, self._language)
        self._found[entity] = value
        return [Segment(prefix), Segment(value, entity)]

    def _joined(self, sentences: list[list[Segment]]) -> list[Segment]:
        """Joins the sentences and roughens the wording, never a value."""
        noise = choose_noise(self._rng, self._language, harsh=self._source.harsh_noise)
        gap = "\n" if self._rng.random() < 0.12 else (" " if self._language == "en" else "")
        segments: list[Segment] = []
        for number, sentence in enumerate(sentences):
            last = number == len(sentences) - 1
            segments += sentence if last else [*self._closed(sentence, gap), Segment(gap)]
        return [s if s.entity else Segment(noise(s.text)) for s in segments if s.text]

    def _closed(self, sentence: list[Segment], gap: str) -> list[Segment]:
        """A sentence that ends with a bare value needs a mark before the next one."""
        if gap == "\n" or sentence[-1].text or len(sentence) == 1:
            return sentence
        marks = (",", ";", ".") if self._language == "en" else ("，", "。", "；")
        return [*sentence, Segment(self._rng.choice(marks))]


def slot_type(slot: str) -> str:
    return "date" if slot == "when" else entities.GENERATORS[slot][0]


def compose(rng: Random, language: str, category: Category, source: Source = TRAINING) -> Example:
    return Composer(rng, language, category, source).compose()


def sample(rng: Random, source: Source = TRAINING) -> Example:
    """A random message; small talk is as rare as any other category."""
    category = rng.choice(list(CATEGORIES.values()))
    return compose(rng, rng.choice(LANGUAGES), category, source)
