"""Random entity values, split so that evaluation values never occur in training.

The split follows rules on the value itself, so anyone can check which side a value is on:
numbers by two of their digits, dates by the day, English names by the initial, Chinese names by
the first character, everything else by word list. Knows nothing about sentences.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random

from . import words

SPLITS = ("train", "held_out")

HELD_OUT_PAIRS = frozenset({"17", "29", "38", "46", "53", "62", "74", "85", "91"})
"""Numbers whose deciding pair of digits is here are held out: first pair; for phones the last."""

HELD_OUT_DAYS = frozenset({14, 19, 23, 28})
HELD_OUT_INITIALS = "IJKQUVYZ"
TRAIN_INITIALS = "ABCDEFGHLMNOPRSTW"

_PAIRS = {
    "held_out": sorted(HELD_OUT_PAIRS),
    "train": [str(n) for n in range(10, 100) if str(n) not in HELD_OUT_PAIRS],
}
_DAYS = {
    "held_out": sorted(HELD_OUT_DAYS),
    "train": [day for day in range(1, 29) if day not in HELD_OUT_DAYS],
}
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip


def _all_common_characters() -> str:
    """The 3,755 characters of GB 2312 level 1, from their code points."""
    codes = (bytes((row, cell)) for row in range(0xB0, 0xD8) for cell in range(0xA1, 0xFF))
    return "".join(code.decode("gb2312", errors="ignore") for code in codes)


COMMON_CHARACTERS = _all_common_characters()


def is_held_out_character(character: str) -> bool:
    return ord(character) % 6 == 0


def _by_split(characters: str) -> dict[str, str]:
    held_out = "".join(c for c in characters if is_held_out_character(c))
    train = "".join(c for c in characters if not is_held_out_character(c))
    return {"train": train, "held_out": held_out}


_PLACE_CHARACTERS = _by_split(words.NAME_CHARACTERS_ZH)
_RARE_CHARACTERS = _by_split(COMMON_CHARACTERS)


def fill(pattern: str, rng: Random, split: str) -> str:
    """`#` becomes a digit, `?` a letter, `@` the pair of digits that decides the split."""
    draw: dict[str, Callable[[], str]] = {
        "#": lambda: str(rng.randrange(10)),
        "?": lambda: rng.choice(_LETTERS),
        "@": lambda: rng.choice(_PAIRS[split]),
    }
    return "".join(draw[symbol]() if symbol in draw else symbol for symbol in pattern)


def _pattern(*patterns: str) -> Callable[[Random, str, str], str]:
    return lambda rng, split, _language: fill(rng.choice(patterns), rng, split)


account = _pattern(
    "@########", "@##########", "@##############", "@## ### ###", "@## #### #### ####",
    "@##-######-##", "A-@####", "?@########", "CN@##########", "@######", "??-@#####",
    "@## **** ####", "****@##",
)  # fmt: skip
tail = _pattern("@##")
order = _pattern(
    "??@######", "??@########", "?@#####", "@####", "ORD-@####", "@##########",
    "@##-#####", "???-@###-##", "@####-??", "?@?####", "SO@#######", "@######",
    "DD@#########", "??-@####", "@#######",
)  # fmt: skip
case = _pattern(
    "??-@###", "C@####", "@###-?", "REF@####", "T-@####", "@########", "GD@######", "INC@#####",
    "???@###", "@##/###",
)  # fmt: skip

_PHONE_PATTERNS = {
    "en": ("+44 7### ####@", "555-##@", "(0##) #### ##@", "+1 ### ### ##@", "0#### ####@",
           "0### ### #@", "+65 #### ##@", "07########@", "###-###-##@"),
    "zh": ("13#######@", "15#######@", "18#######@", "17#######@", "19# #### ##@", "0##-######@",
           "13#-####-##@", "400-###-##@", "+86 13#######@"),
}  # fmt: skip


def phone(rng: Random, split: str, language: str) -> str:
    return fill(rng.choice(_PHONE_PATTERNS[language]), rng, split)


def _whole_amount(rng: Random, split: str) -> str:
    digits = fill("@" + "#" * rng.choice((0, 0, 1, 1, 2, 2, 3)), rng, split)
    return f"{int(digits):,}" if rng.random() < 0.4 else digits


_AMOUNT_FORMS = {
    "en": ("${}", "${}", "{} dollars", "USD {}", "£{}", "{} pounds", "€{}", "EUR {}", "{} euros",
           "{} yuan", "RMB {}", "¥{}", "{} EUR", "{} USD", "HK${}", "{} RMB"),
    "zh": ("{}元", "{}元", "{}元", "{}块", "{}块钱", "人民币{}元", "¥{}", "{}美元", "{}人民币",
           "{}元钱", "￥{}", "{}欧元", "{}港币"),
}  # fmt: skip


def amount(rng: Random, split: str, language: str) -> str:
    if language == "zh" and rng.random() < 0.08:
        return fill(rng.choice(("@", "@#")), rng, split) + "万元"
    number = _whole_amount(rng, split)
    if rng.random() < 0.4:
        number += fill(".##", rng, split)
    return rng.choice(_AMOUNT_FORMS[language]).format(number)


_DATE_FORMS = {
    "en": ("{y}-{m:02}-{d:02}", "{month} {d}", "{d} {month}", "{d} {month} {y}", "{month} {d}, {y}",
           "{m}/{d}/{y}", "{d:02}.{m:02}.{y}", "{mon} {d}", "{d} {mon}", "{month} {d}{th}",
           "{m}/{d}", "the {d}{th} of {month}"),
    "zh": ("{m}月{d}日", "{m}月{d}日", "{m}月{d}号", "{y}年{m}月{d}日", "{y}-{m:02}-{d:02}",
           "{y}/{m}/{d}", "{y}年{m}月{d}号", "{y}.{m}.{d}", "{m}.{d}"),
}  # fmt: skip


def date(rng: Random, split: str, language: str) -> str:
    """An absolute date; only its day decides the split."""
    day, month = rng.choice(_DAYS[split]), rng.randrange(12)
    suffix = {1: "st", 2: "nd", 3: "rd", 21: "st", 22: "nd", 23: "rd"}.get(day, "th")
    return rng.choice(_DATE_FORMS[language]).format(
        y=rng.randrange(2023, 2029),
        m=month + 1,
        d=day,
        month=_MONTHS[month],
        mon=_MONTHS[month][:3],
        th=suffix,
    )


def _english_relative_date(rng: Random, split: str) -> str:
    forms = (
        rng.choice(words.DAYS_EN.of(split)),
        f"{rng.choice(words.DAYS_EN.of(split))} {rng.choice(words.PARTS_OF_DAY_EN)}",
        f"{rng.choice(words.COUNTS_EN.of(split))} {rng.choice(('days', 'days', 'weeks'))} ago",
        rng.choice(words.OTHER_DATES_EN.of(split)),
    )
    return rng.choice(forms)


def _chinese_relative_date(rng: Random, split: str) -> str:
    forms = (
        rng.choice(words.DAYS_ZH.of(split)),
        rng.choice(words.DAYS_ZH.of(split)) + rng.choice(words.PARTS_OF_DAY_ZH),
        rng.choice(words.COUNTS_ZH.of(split)) + rng.choice(("天前", "天前", "周前", "个星期前")),
        rng.choice(words.OTHER_DATES_ZH.of(split)),
    )
    return rng.choice(forms)


def relative_date(rng: Random, split: str, language: str) -> str:
    if language == "en":
        return _english_relative_date(rng, split)
    return _chinese_relative_date(rng, split)


def english_name(rng: Random, split: str) -> str:
    """An invented proper name such as Trelmonford; its initial decides the split."""
    initial = rng.choice(HELD_OUT_INITIALS if split == "held_out" else TRAIN_INITIALS)
    body = rng.choice("aeiou") if initial not in "AEIOU" else ""
    for _ in range(rng.choice((0, 1, 1, 2))):
        body += rng.choice("bcdfghklmnprstvwz") + rng.choice(("a", "e", "i", "o", "u", "ea", "oo"))
    ending = rng.choice(words.NAME_ENDINGS_EN) if rng.random() < 0.6 else rng.choice("lmnrstx")
    return initial + body + ending


def chinese_name(rng: Random, split: str) -> str:
    """Two or three characters; the first decides the split. One name in six is of rare ones."""
    if rng.random() < 1 / 6:
        first, rest = _RARE_CHARACTERS[split], COMMON_CHARACTERS
    else:
        first, rest = _PLACE_CHARACTERS[split], words.NAME_CHARACTERS_ZH
    return rng.choice(first) + "".join(rng.choice(rest) for _ in range(rng.choice((1, 1, 1, 2))))


def _english_place(rng: Random, split: str) -> str:
    name, kind = english_name(rng, split), rng.choice(words.STREET_KINDS_EN)
    number = rng.randrange(1, 400)
    forms = (
        f"{name} {kind}", f"{name} {kind}", f"{number} {name} {kind}", f"{name} {kind} {number}",
        f"{number} {name} {kind}, {english_name(rng, split)}", name, f"North {name}",
        f"{name} {english_name(rng, split)} {kind}",
    )  # fmt: skip
    return rng.choice(forms)


def _chinese_place(rng: Random, split: str) -> str:
    name, number = chinese_name(rng, split), rng.randrange(1, 400)
    kind = rng.choice(words.STREET_KINDS_ZH)
    second = chinese_name(rng, split) + rng.choice(words.STREET_KINDS_ZH)
    crossing = chinese_name(rng, split) + rng.choice(words.NUMBERED_KINDS_ZH)
    forms = (
        name + kind, name + kind, name + rng.choice(words.NUMBERED_KINDS_ZH) + f"{number}号",
        name + rng.choice(("区", "市", "县", "镇")) + second,
        name + rng.choice(("小区", "花园", "家园")) + f"{number % 30 + 1}栋",
        name + rng.choice(("小区", "新村")) + f"{number % 30 + 1}号楼",
        name + rng.choice(words.NUMBERED_KINDS_ZH) + "和" + crossing + "路口",
    )  # fmt: skip
    return rng.choice(forms)


def place(rng: Random, split: str, language: str) -> str:
    return _english_place(rng, split) if language == "en" else _chinese_place(rng, split)


def _brand_and_model(rng: Random, split: str, language: str) -> str:
    brand = english_name(rng, split) if language == "en" else chinese_name(rng, split)
    model = fill(rng.choice(("?#", "??####", "?##", "?#-##", "??#", "####", "?## Pro")), rng, split)
    gap = " " if language == "en" else ""
    return rng.choice((brand, brand + gap + model, brand + gap + model))


def invented_word(rng: Random) -> str:
    """A lower-case English-sounding word."""
    syllables = [
        rng.choice("bcdfghklmnprstvwz") + rng.choice(("a", "e", "i", "o", "u", "ea", "oo", "ai"))
        for _ in range(rng.choice((1, 2, 2, 3)))
    ]
    return "".join(syllables) + rng.choice(("", "", "n", "t", "r", "l", "sh", "ck", "ng", "mp"))


def _invented_thing(rng: Random, language: str, endings: tuple[str, ...]) -> str:
    """An unheard-of thing: it can only be found by its place in the sentence."""
    ending = rng.choice(endings)
    if language == "en":
        return f"{invented_word(rng)} {ending}".strip()
    characters = COMMON_CHARACTERS if rng.random() < 0.4 else words.NAME_CHARACTERS_ZH
    number = rng.choice((1, 2, 2, 3) if ending else (2, 3))
    return "".join(rng.choice(characters) for _ in range(number)) + ending


def _all_words(word_list: words.WordList) -> tuple[str, ...]:
    return word_list.train + word_list.held_out


def _device_noun(rng: Random, split: str, language: str) -> str:
    if split == "train" and rng.random() < 0.4:
        endings = words.DEVICE_ENDINGS_EN if language == "en" else words.DEVICE_ENDINGS_ZH
        return _invented_thing(rng, language, endings)
    return rng.choice(words.DEVICES[language].of(split))


def device(rng: Random, split: str, language: str) -> str:
    """The noun decides the split; the training sees listed and invented ones."""
    noun = _device_noun(rng, split, language)
    if rng.random() < 0.5:
        return noun
    gap = " " if language == "en" else ""
    return _brand_and_model(rng, split, language) + gap + noun


def _product_noun(rng: Random, split: str, language: str) -> str:
    if split == "train" and rng.random() < 0.5:
        endings = words.PRODUCT_ENDINGS_EN if language == "en" else words.PRODUCT_ENDINGS_ZH
        return _invented_thing(rng, language, endings)
    return rng.choice(words.PRODUCT_NOUNS[language].of(split))


def product(rng: Random, split: str, language: str) -> str:
    """The noun decides the split; held-out products may carry a modifier seen in training."""
    noun = _product_noun(rng, split, language)
    gap = " " if language == "en" else ""
    kind = rng.random()
    if kind < 0.35:
        return noun
    if kind < 0.5:
        return _brand_and_model(rng, split, language) + gap + noun
    modifiers = words.PRODUCT_MODIFIERS[language]
    choices = _all_words(modifiers) if split == "held_out" else modifiers.train
    return rng.choice(choices) + gap + noun


GENERATORS: dict[str, tuple[str, Callable[[Random, str, str], str]]] = {
    "account": ("account", account),
    "tail": ("account", tail),
    "order": ("order", order),
    "case": ("case", case),
    "amount": ("amount", amount),
    "date": ("date", date),
    "relative": ("date", relative_date),
    "place": ("place", place),
    "device": ("device", device),
    "product": ("product", product),
    "phone": ("phone", phone),
}
"""Slot name to the entity type it fills and the generator of its values."""


def is_held_out(entity: str, value: str) -> bool:
    """True where `value` is on the held-out side of the split, by the rules above."""
    digits = re.sub(r"\D", "", value)
    if entity in ("account", "order", "case", "amount"):
        return digits[:2] in HELD_OUT_PAIRS
    if entity == "phone":
        return digits[-2:] in HELD_OUT_PAIRS
    return _RULES[entity](value)


_HELD_OUT_DATE_WORDS = re.compile(
    r"Wednesday|Sunday|^(four|nine|4|9) (days|weeks)|earlier|month|[周期][三日]|大前天|"
    r"^[四九49](天|周|个)|上个月底|去年底|前几天"
)


def _is_held_out_date(value: str) -> bool:
    if _HELD_OUT_DATE_WORDS.search(value):
        return True
    return any(int(number) in HELD_OUT_DAYS for number in re.findall(r"\d+", value))


def _is_held_out_place(value: str) -> bool:
    first = re.sub(r"^(\d+ |North )", "", value)[0]
    return first in HELD_OUT_INITIALS if first.isascii() else is_held_out_character(first)


def _ends_with_held_out(lists: dict[str, words.WordList]) -> Callable[[str], bool]:
    held_out = tuple(word for word_list in lists.values() for word in word_list.held_out)
    return lambda value: value.endswith(held_out)


_RULES: dict[str, Callable[[str], bool]] = {
    "date": _is_held_out_date,
    "place": _is_held_out_place,
    "device": _ends_with_held_out(words.DEVICES),
    "product": _ends_with_held_out(words.PRODUCT_NOUNS),
}
