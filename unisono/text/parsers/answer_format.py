"""A model's way to write reasoning and tool calls.

Each format is a class of its own in ``formats/``; ``finding.py`` chooses one for a model.
"""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from unisono.text.parsers.part_writer import PartWriter
from unisono.text.parsers.scanner import Reading, Scanner


@dataclass(frozen=True, slots=True)
class Pair:
    """Two marks around something."""

    opens: str
    closes: str


@dataclass(frozen=True, slots=True)
class CallSpelling:
    """The letters of a call whose arguments are JSON; marks among them are named as ever."""

    before_name: str
    before_arguments: str
    end: str
    opens: str = ""
    """Before all calls."""
    between: str = ""
    closes: str = ""
    numbered: str = ""
    """Behind the name a number, and before the arguments this instead."""


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
    spelling: ClassVar[CallSpelling | None] = None
    """The way to write calls, where the model is to be held to one; None: it cannot be."""

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

    def new_id(self, name: str, index: int) -> str:
        """An id for a call that the model gives none."""
        return f"call_{secrets.token_hex(12)}"


Schemas = Mapping[str, Mapping[str, Any]]
"""The JSON schema of the parameters of each tool, by name."""
