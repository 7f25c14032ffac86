"""The letters in which a model writes calls.

A format says them once, beside its parser, for whoever holds a model to them.

Marks among the letters are named as ever; :class:`Marks` knows which of them are tokens.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pattern:
    """Letters that a regular expression tells, such as white space or a number."""

    regex: str


@dataclass(frozen=True, slots=True)
class Maybe:
    """Letters that may be left out."""

    letters: str


@dataclass(frozen=True, slots=True)
class Key:
    """The key of the parameter, once more."""


Spelled = str | tuple[str | Pattern | Maybe | Key, ...]
SPACE = Pattern("[ \\n]{0,2}")
"""White space of which models write more or less."""


@dataclass(frozen=True, slots=True)
class Value:
    """The letters around the value of a parameter."""

    before: Spelled
    end: Spelled
    never: str = ""
    """Letters that no text has in it; those of ``end``, if there are none here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Members:
    """Parameters one by one, each a key and a value."""

    key: str = ""
    """Before a key."""
    json: Value
    """A value as JSON."""
    text: Value | None = None
    """A value that is a text, as it stands; None: texts are JSON, too."""
    tells: bool = False
    """Letters before a value tell whether it is a text; else the tool's schema does."""
    between: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSpelling:
    """The letters of calls."""

    before_name: Spelled
    before_arguments: Spelled = ""
    members: Members | None = None
    """None: arguments are one JSON object."""
    end: Spelled = ""
    opens: Spelled = ""
    """Before all calls."""
    between: Spelled = ""
    closes: Spelled = ""
    is_single: bool = False
    """There is one call at most."""
    is_bare: bool = False
    """No mark announces calls: they are the whole answer."""
    sign: str = ""
    """Letters in a chat template, or a token, by which this way to write is told from others."""


def json_calls(
    opens: Spelled = "",
    closes: Spelled = "",
    *,
    keys: tuple[str, str] = ("name", "arguments"),
    between: str = ", ",
    sign: str = "",
    is_bare: bool = False,
    is_single: bool = False,
) -> CallSpelling:
    """Calls that are JSON objects.

    Args:
        keys: of the name and of the arguments.
    """
    name, arguments = keys
    return CallSpelling(
        before_name=f'{{"{name}": "',
        before_arguments=f'", "{arguments}": ',
        end="}",
        opens=opens,
        between=between,
        closes=closes,
        sign=sign,
        is_bare=is_bare,
        is_single=is_single,
    )
