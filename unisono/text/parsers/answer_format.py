"""A model's way to write reasoning and tool calls.

Each format is a class of its own in ``formats/``; ``finding.py`` chooses one for a model.
"""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from unisono.text.parsers.call_grammar import CallGrammar, Node
from unisono.text.parsers.part_writer import PartWriter
from unisono.text.parsers.scanner import Reading, Scanner
from unisono.text.parsers.spelling import CallSpelling


@dataclass(frozen=True, slots=True)
class Pair:
    """Two marks around something."""

    opens: str
    closes: str


@dataclass(frozen=True)
class AnswerFormat(ABC):
    """Args:
    thinking: marks around the model's reasoning; None for a model that does not reason.
    speaking: marks around what is neither reasoning nor a call.
    """

    thinking: Pair | None = None
    speaking: Pair | None = None

    name: ClassVar[str]
    """The name for ``--tool-format``."""
    own_thinking: ClassVar[Pair | None] = None
    """Marks of reasoning that belong to the format."""
    own_speaking: ClassVar[Pair | None] = None
    spellings: ClassVar[tuple[CallSpelling, ...]] = ()
    """Ways to write calls, where the model is to be held to them."""

    @classmethod
    @abstractmethod
    def fits(cls, template: str) -> bool:
        """True where a chat template writes calls so."""

    @abstractmethod
    def names(self, *, with_calls: bool) -> tuple[str, ...]:
        """The marks to look for.

        Args:
            with_calls: there are tools that may be called.
        """

    @abstractmethod
    def answer(self, scanner: Scanner, parts: PartWriter) -> Reading[None]:
        """Reads a whole answer."""

    def calls_alone(self, grammar: CallGrammar, has_sign: Callable[[str], bool]) -> Node | None:
        """A grammar of answers that call tools and say nothing else; None where there is none.

        Args:
            has_sign: tells whether the model has the sign of a way to write calls.
        """
        signed = [one for one in self.spellings if one.sign and has_sign(one.sign)]
        own = signed or [one for one in self.spellings if not one.sign] or self.spellings
        return {"any": [grammar.calls(spelling) for spelling in own]} if own else None

    def calls_amid(self, grammar: CallGrammar) -> Node | None:
        """A grammar of answers that may call tools, and say anything; None where there is none."""
        return None

    def new_id(self, name: str, index: int) -> str:
        """An id for a call that the model gives none."""
        return f"call_{secrets.token_hex(12)}"


Schemas = Mapping[str, Mapping[str, Any]]
"""The JSON schema of the parameters of each tool, by name."""
