"""A model's way to write reasoning and tool calls.

Each format is a class of its own in ``formats/``; ``finding.py`` chooses one for a model.
"""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from unisono.text.parsers.call_writer import CallWriter
from unisono.text.parsers.scanner import Reading, Scanner


@dataclass(frozen=True, slots=True)
class Thinking:
    """The marks around reasoning."""

    opens: str
    closes: str


@dataclass(frozen=True)
class AnswerFormat(ABC):
    """Args:
    thinking: marks of the model's reasoning; None for a model that does not reason.
    """

    thinking: Thinking | None = None

    name: ClassVar[str]
    """The name for ``--tool-format``."""
    opens: ClassVar[tuple[str, ...]]
    """Marks that begin calls."""
    marks: ClassVar[tuple[str, ...]] = ()
    """Further marks of calls."""

    @classmethod
    @abstractmethod
    def fits(cls, template: str) -> bool:
        """True where a chat template writes calls so."""

    @abstractmethod
    def calls(self, scanner: Scanner, writer: CallWriter, opened: str) -> Reading[None]:
        """Reads the calls behind the mark ``opened``, and what closes them.

        Raises:
            NotACallError: it is none.
        """

    def new_id(self, name: str, index: int) -> str:
        """An id for a call that the model gives none."""
        return f"call_{secrets.token_hex(12)}"


Schemas = Mapping[str, Mapping[str, Any]]
"""The JSON schema of the parameters of each tool, by name."""
