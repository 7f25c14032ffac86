"""A finding of the doctor: one line about one thing, and what to change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "warning", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """``advice`` says what to change; empty where nothing has to."""

    level: Level
    subject: str
    what: str
    advice: str = ""
