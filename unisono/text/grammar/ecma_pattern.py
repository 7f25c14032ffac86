"""Regular expressions of JSON Schema (ECMA-262) in the notation of Rust, with the same meaning.

What the two understand differently is written out; what has no counterpart is refused.
"""

from __future__ import annotations

import re

_REPEAT = re.compile(r"\{(\d{1,6})(,(\d{0,6}))?\}")
_PROPERTY = re.compile(r"\{[A-Za-z_]{1,30}(=[A-Za-z_]{1,30})?\}")
_MAX_REPEAT = 4096
_SPACES = r"\t\n\x0b\x0c\r \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"
_SETS = {"d": "0-9", "w": "0-9A-Za-z_", "s": _SPACES}
_CONTROLS = {"n": "\n", "r": "\r", "t": "\t", "f": "\f", "v": "\v"}
_ANY = r"[^\n\r\u2028\u2029]"
_NEVER = r"[^\x{0}-\x{10FFFF}]"


class PatternError(ValueError):
    """The pattern is wrong, or has no counterpart."""


def rust_pattern(pattern: str) -> str:
    """Raises:
    PatternError: as it says.
    """
    return _Translation(pattern).run()


def pattern_weight(pattern: str) -> int:
    """Characters of the longest way through it, where ``*`` and its kind count once: what an
    automaton has to tell apart.

    Raises:
        PatternError: as of ``rust_pattern``.
    """
    translation = _Translation(pattern)
    translation.run()
    return max(translation.ways[0])


def literal_pattern(text: str) -> str:
    """A pattern, in both notations, that ``text`` matches and nothing else."""
    return "".join(map(_literal, text))


def _literal(char: str) -> str:
    is_plain = char.isascii() and (char.isalnum() or char in " _,:;=@%!\"'<>")
    return char if is_plain else f"\\x{{{ord(char):x}}}"


class _Translation:
    def __init__(self, pattern: str) -> None:
        self._text = pattern
        self._at = 0
        self.ways = [[0]]
        """Weights of the branches of each open group, the outermost first."""
        self._last_weight = 0
        self._repeats = False
        """True where a quantifier may follow."""

    def run(self) -> str:
        parts = []
        while self._at < len(self._text):
            parts.append(self._next())
        if len(self.ways) > 1:
            raise PatternError("a group is open")
        return "".join(parts)

    def _take(self) -> str:
        if self._at >= len(self._text):
            raise PatternError("the pattern breaks off")
        self._at += 1
        return self._text[self._at - 1]

    def _next(self) -> str:
        char = self._take()
        if char in "*+?{" and (found := self._quantifier(char)) is not None:
            return found
        self._repeats = char not in "^$|("
        if char == "|":
            self.ways[-1].append(0)
        if char in "^$|":
            return char
        match char:
            case "(":
                return self._group()
            case ")":
                return self._close()
        self._weigh(1)
        match char:
            case ".":
                return _ANY
            case "[":
                return self._set()
            case "\\":
                return self._escape()
        return _literal(char)

    def _close(self) -> str:
        if len(self.ways) == 1:
            raise PatternError("a group is closed that is not open")
        self._weigh(max(self.ways.pop()))
        return ")"

    def _weigh(self, weight: int) -> None:
        self._last_weight = weight
        self.ways[-1][-1] += weight

    def _quantifier(self, char: str) -> str | None:
        found = char
        if char == "{":
            match = _REPEAT.match(self._text, self._at - 1)
            if match is None:
                return None
            if max(int(match[1]), int(match[3] or 0)) > _MAX_REPEAT:
                raise PatternError("so many repetitions")
            found, self._at = match[0], match.end()
            most = int(match[3] or 0) or int(match[1]) + bool(match[2])
            self._weigh(self._last_weight * (most - 1))
        if not self._repeats:
            raise PatternError("nothing to repeat")
        self._repeats = False
        if self._text[self._at : self._at + 1] == "?":
            self._at += 1  # which of several matches is taken does not matter
        return found

    def _group(self) -> str:
        self.ways.append([0])
        rest = self._text[self._at :]
        if rest.startswith("?:"):
            self._at += 2
        elif rest.startswith("?<") and rest[2:3] not in ("=", "!"):
            self._at += rest.index(">") + 1 if ">" in rest else len(rest)
        elif rest.startswith("?"):
            raise PatternError("lookaround or flags")
        return "(?:"

    def _escape(self) -> str:
        char = self._take()
        if char in "dwsDWS":
            return f"[{'^' if char.isupper() else ''}{_SETS[char.lower()]}]"
        if char in "pP":
            return self._property(char)
        return _literal(self._escaped_char(char))

    def _property(self, char: str) -> str:
        match = _PROPERTY.match(self._text, self._at)
        if match is None:
            raise PatternError("an escape of a letter")
        self._at = match.end()
        return f"\\{char}{match[0]}"

    def _escaped_char(self, char: str) -> str:
        if char in _CONTROLS:
            return _CONTROLS[char]
        if char == "0" and not self._text[self._at : self._at + 1].isdigit():
            return "\0"
        if char == "x":
            return chr(self._hex(2))
        if char == "u":
            return self._unicode()
        if char == "c" and self._text[self._at : self._at + 1].isalpha():
            return chr(ord(self._take()) % 32)
        if char.isalnum():
            raise PatternError("a back reference, a word boundary or an escape of a letter")
        return char

    def _hex(self, count: int) -> int:
        digits = self._text[self._at : self._at + count]
        if not re.fullmatch(f"[0-9A-Fa-f]{{{count}}}", digits):
            raise PatternError("hexadecimal digits are missing")
        self._at += count
        return int(digits, 16)

    def _unicode(self) -> str:
        if match := re.compile(r"\{([0-9A-Fa-f]{1,6})\}").match(self._text, self._at):
            self._at = match.end()
            code = int(match[1], 16)
        else:
            code = self._hex(4)
            if 0xD800 <= code < 0xDC00 and self._text.startswith("\\u", self._at):
                self._at += 2
                low = self._hex(4)
                if 0xDC00 <= low < 0xE000:
                    code = 0x10000 + ((code - 0xD800) << 10) + low - 0xDC00
        if 0xD800 <= code < 0xE000 or code > 0x10FFFF:
            raise PatternError("half a surrogate pair")
        return chr(code)

    def _set(self) -> str:
        negated = self._text.startswith("^", self._at)
        self._at += negated
        items: list[str] = []
        while (char := self._take()) != "]":
            low = self._set_item(char)
            if len(low) == 1 and self._text[self._at : self._at + 1] == "-" and self._has_high():
                self._at += 1
                high = self._set_item(self._take())
                if len(high) != 1 or low > high:
                    raise PatternError("a range that is none")
                items.append(f"{_code(low)}-{_code(high)}")
            else:
                items.append(_code(low) if len(low) == 1 else low)
        if not items:
            return r"[\x{0}-\x{10FFFF}]" if negated else _NEVER
        return f"[{'^' if negated else ''}{''.join(items)}]"

    def _has_high(self) -> bool:
        """True where a hyphen is between two characters."""
        return self._text[self._at + 1 : self._at + 2] not in ("]", "")

    def _set_item(self, char: str) -> str:
        """A character, or a set of them in Rust's notation, which is longer."""
        if char != "\\":
            return char
        char = self._take()
        if char in "dws":
            return _SETS[char]
        if char in "DWS":
            return f"[^{_SETS[char.lower()]}]"
        if char in "pP":
            return self._property(char)
        return "\b" if char == "b" else self._escaped_char(char)


def _code(char: str) -> str:
    return f"\\x{{{ord(char):x}}}"
