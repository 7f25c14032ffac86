"""A format's calls as a grammar, in the form that ``text/grammar/tool_calls.py`` reads.

A node is a text, the id of a token, a list of nodes one behind another, or an object that says
more.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

from unisono.text.parsers.called_tools import CalledTool
from unisono.text.parsers.marks import Marks
from unisono.text.parsers.spelling import CallSpelling, Key, Maybe, Members, Spelled, Value

MAX_CALLS = 32
"""Calls of one answer that is held to them, which ends so."""
Node = Any


class CallGrammar:
    """Writes nodes for one model.

    Args:
        several: more than one call is allowed.
    """

    def __init__(
        self,
        marks: Marks,
        tools: Sequence[CalledTool],
        *,
        several: bool,
        parts: dict[Hashable, Node] | None = None,
    ) -> None:
        self.marks = marks
        self.tools = tools
        self._several = several
        self._parts: dict[Hashable, Node] = {} if parts is None else parts

    @property
    def parts(self) -> list[Node]:
        """Nodes that others name by their place, so that each is said once."""
        return list(self._parts.values())

    def of(self, tools: Sequence[CalledTool]) -> CallGrammar:
        """A grammar of one call of these tools, with the same parts."""
        return CallGrammar(self.marks, tools, several=False, parts=self._parts)

    def _part(self, key: Hashable, make: Callable[[], Node]) -> Node:
        if key not in self._parts:
            node = make()
            self._parts[key] = node
        return {"part": list(self._parts).index(key)}

    def letters(self, spelled: Spelled) -> list[Node]:
        """Letters, and the tokens among them."""
        nodes: list[Node] = []
        for piece in (spelled,) if isinstance(spelled, str) else spelled:
            if isinstance(piece, str):
                nodes += self.marks.pieces(piece)
            elif isinstance(piece, Maybe):
                nodes.append({"any": [[], self.marks.pieces(piece.letters)]})
            else:
                nodes.append({"key": True} if isinstance(piece, Key) else {"regex": piece.regex})
        return nodes

    def calls(self, spelling: CallSpelling) -> Node:
        """A call of some tool, or several."""
        return {"any": self.calls_each(spelling)}

    def calls_each(self, spelling: CallSpelling) -> list[list[Node]]:
        """The same, apart by the tool that is called first."""
        more: list[Node] = []
        if self._several and not spelling.is_single:
            more = [
                {
                    "many": [*self.letters(spelling.between), *self.one(spelling)],
                    "most": MAX_CALLS - 1,
                }
            ]
        opens, closes = self.letters(spelling.opens), self.letters(spelling.closes)
        calls = [self.call(spelling, tool) for tool in self.tools]
        return [joined([*opens, *call, *more, *closes]) for call in calls]

    def one(self, spelling: CallSpelling) -> list[Node]:
        """A call of some tool."""
        names = tuple(tool.name for tool in self.tools)

        def calls() -> Node:
            return {"any": [self.call(spelling, tool) for tool in self.tools]}

        return [self._part((spelling, names), calls)]

    def call(self, spelling: CallSpelling, tool: CalledTool) -> list[Node]:
        """A call of one tool."""
        return [
            *self.letters(spelling.before_name),
            tool.name,
            *self.letters(spelling.before_arguments),
            self.arguments(tool, spelling.members),
            *self.letters(spelling.end),
        ]

    def arguments(self, tool: CalledTool, members: Members | None = None) -> Node:
        return self._part((tool.name, members), lambda: self._arguments(tool, members))

    def _arguments(self, tool: CalledTool, members: Members | None) -> Node:
        if members is None:
            return {
                "schema": tool.schema if tool.is_exact else {"type": "object"},
                "strict": tool.is_strict,
            }
        return {
            "members": tool.schema,
            "strict": tool.is_strict,
            "exact": tool.is_exact,
            "key": self.letters(members.key),
            "json": self._value(members.json),
            "text": members.text and self._value(members.text),
            "tells": members.tells,
            "between": members.between,
        }

    def _value(self, value: Value) -> Node:
        return {
            "before": self.letters(value.before),
            "end": self.letters(value.end),
            "never": self.never(value.never or _text_of(value.end)),
        }

    def never(self, mark: str) -> list[str]:
        """Letters that a text does not have before a mark: those of its tokens, or its own."""
        tokens = [self.marks.letters[p] for p in self.marks.pieces(mark) if isinstance(p, int)]
        return tokens or ([mark.strip()] if mark.strip() else [])


def joined(nodes: list[Node]) -> list[Node]:
    """The same, with texts that stand side by side in one."""
    found: list[Node] = []
    for node in nodes:
        if isinstance(node, str) and found and isinstance(found[-1], str):
            found[-1] += node
        else:
            found.append(node)
    return found


def _text_of(spelled: Spelled) -> str:
    if isinstance(spelled, str):
        return spelled
    return next((piece for piece in spelled if isinstance(piece, str)), "")
