"""Patterns of ECMA-262 in Rust's notation: what they match, and what is refused."""

from __future__ import annotations

import pytest

from tests.byte_grammar import takes
from unisono.core.constraint import Constraint
from unisono.text.grammar.compiler import GrammarCompiler
from unisono.text.grammar.ecma_pattern import (
    PatternError,
    literal_pattern,
    pattern_weight,
    rust_pattern,
)


def matches(compiler: GrammarCompiler, pattern: str, text: str) -> bool:
    return takes(compiler, Constraint("regex", pattern), text)


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("a.c", ["abc", "aéc", "a/c"], ["a\nc", "a\u2028c", "ac"]),
        (r"\d+", ["0", "42"], ["٣", "", "a"]),
        (r"\w", ["_", "A"], ["é", "-"]),
        (r"\s", [" ", "\ufeff", "\u00a0"], ["\x85", "a"]),
        (r"[^\s]", ["\x85", "a"], ["\ufeff"]),
        (r"[\w-.]+", ["a-.", "-"], ["+"]),
        ("[a&&b]+", ["a&b"], ["c"]),
        ("[[]", ["["], ["a"]),
        ("[a-]", ["a", "-"], ["b"]),
        ("a{2,3}", ["aa", "aaa"], ["a", "aaaa"]),
        ("a{,3}", ["a{,3}"], ["a", ""]),
        ("x{y}", ["x{y}"], ["xy"]),
        (r"\u0041\x42\cA", ["AB\x01"], ["ab"]),
        (r"\ud83d\ude00", ["😀"], ["x"]),
        ("😀+", ["😀😀"], [""]),
        ("^(?:a|b)$", ["a", "b"], ["ab"]),
        ("^a|b$", ["a", "b"], ["ab"]),
        ("(?<year>[0-9]{4})", ["2024"], ["24"]),
        ("a+?", ["aaa"], [""]),
        (r"\/\.\-\@\<", ["/.-@<"], ["a"]),
        (r"\p{Lu}", ["É"], ["é"]),
        ("#~\"'", ["#~\"'"], ["#"]),
    ],
)
def test_it_matches(compiler: GrammarCompiler, pattern: str, yes: list[str], no: list[str]) -> None:
    for text in yes:
        assert matches(compiler, pattern, text), text
    for text in no:
        assert not matches(compiler, pattern, text), text


@pytest.mark.parametrize(
    "pattern",
    [
        *("(?=a)", "(?!a)", "(?<=a)b", "(?i)a", r"\bx", r"\B", r"(a)\1", r"\k<a>", r"\A", r"\z"),
        *("(", ")", "[a", "[b-a]", r"[a-\d]", "a**", "*", "a++", "x{9999}", r"\u12", r"\ud800"),
        *("\\", r"\p"),
    ],
)
def test_it_is_refused(pattern: str) -> None:
    with pytest.raises(PatternError):
        rust_pattern(pattern)


def test_a_literal_means_itself(compiler: GrammarCompiler) -> None:
    text = "".join(chr(code) for code in range(0x20, 0x180)) + "\n😀"
    assert matches(compiler, literal_pattern(text).replace("\\x{", "\\u{"), text)


@pytest.mark.parametrize(
    ("pattern", "weight"),
    [("abc", 3), ("a|bcd|e", 3), ("(ab){2,5}c", 11), ("[a-z]*", 1), ("(a{10}){10}", 100)],
)
def test_a_weight(pattern: str, weight: int) -> None:
    assert pattern_weight(pattern) == weight
