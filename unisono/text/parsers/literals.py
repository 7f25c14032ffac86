"""JSON of values that models write in other ways: as Python, or with quotes and keys of their own.

Reads tokens and evaluates nothing, so that a hostile text costs no more than its length.
"""

from __future__ import annotations

import json
import math
import re
from contextlib import suppress
from functools import lru_cache

_MAX_DEPTH = 64
_WORDS = {"True": "true", "False": "false", "None": "null"}
_WORDS |= {word: word for word in _WORDS.values()}
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?")
_ESCAPE = re.compile(
    r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{1,3})|(.))", re.S
)
_SURROGATE = re.compile("[\ud800-\udfff]")
_LETTERS = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "a": "\a", "v": "\v", "\n": ""}
_LETTERS |= {letter: letter for letter in "\\'\"/"}
_CLOSES = {"[": "]", "{": "}", "(": "]"}


def literal_as_json(text: str, quote: str = "") -> str:
    """JSON of a value.

    Args:
        quote: encloses strings, beside the quotes of Python; nothing is escaped there.

    Raises:
        ValueError: the text is no such value, or a very deep one.
    """
    out: list[str] = []
    closing: list[str] = []
    end = 0
    for token in _tokens(quote).finditer(text):
        if token.start() != end:
            raise ValueError("no literal")
        end = token.end()
        kind, value = token.lastgroup, token.group(token.lastindex or 0)
        if kind == "raw":
            out.append(json.dumps(value, ensure_ascii=False))
        elif kind == "string":
            out.append(json.dumps(_unescaped(value), ensure_ascii=False))
        elif kind == "word":
            out.append(_word(value, is_key=text.startswith(":", end)))
        elif value in _CLOSES:
            closing.append(_CLOSES[value])
            out.append("[" if value == "(" else value)
            if len(closing) > _MAX_DEPTH:
                raise ValueError("too deep")
        elif value in ")]}":
            if out and out[-1] == ",":
                out.pop()
            if not closing or closing[-1] != (value if value != ")" else "]"):
                raise ValueError("no literal")
            out.append(closing.pop())
        else:
            out.append(value)
    written = "".join(out)
    if text[end:].strip():
        raise ValueError("no literal")
    json.loads(written, parse_int=_keep, parse_float=_keep)
    return written


@lru_cache(maxsize=16)
def _tokens(quote: str) -> re.Pattern[str]:
    raw = re.escape(quote)
    kinds = [
        rf"{raw}(?P<raw>.*?){raw}" if quote else "(?P<raw>(?!))",
        r"""(?P<string>"[^"\\]*(?:\\.[^"\\]*)*"|'[^'\\]*(?:\\.[^'\\]*)*')""",
        r"(?P<sign>[][(){},:])",
        r"""(?P<word>[^][(){},:"'\s]+)""",
    ]
    return re.compile(rf"\s*(?:{'|'.join(kinds)})\s*", re.S)


def _word(word: str, *, is_key: bool) -> str:
    if is_key:
        return json.dumps(word, ensure_ascii=False)
    if word in _WORDS:
        return _WORDS[word]
    if _NUMBER.fullmatch(word):
        return word
    number = float(word)
    if not math.isfinite(number):
        raise ValueError("JSON has no such number")
    return repr(int(number) if number.is_integer() and abs(number) < 2**53 else number)


def _unescaped(string: str) -> str:
    """The text that a string says, with its quotes: of JSON, or else of Python."""
    if "\\" not in string:
        return string[1:-1]
    if string[0] == '"' and not _SURROGATE.search(string):
        with suppress(ValueError):
            return _SURROGATE.sub("\ufffd", json.loads(string, strict=False))
    return _ESCAPE.sub(_escaped, string[1:-1])


def _escaped(found: re.Match[str]) -> str:
    byte, short, long, octal, letter = found.groups()
    if letter is not None:
        return _LETTERS.get(letter, found.group())
    code = int(octal, 8) if octal else int(byte or short or long, 16)
    is_letter = code <= 0x10FFFF and not 0xD800 <= code <= 0xDFFF
    return chr(code) if is_letter else "\ufffd"


def _keep(number: str) -> str:
    return number
