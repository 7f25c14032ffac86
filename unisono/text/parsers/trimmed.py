"""Text without the white space at its ends."""

from __future__ import annotations

from unisono.text.parsers.scanner import Sink


class Trimmed:
    """Hands text on without the white space at its beginning and its end.

    Args:
        is_first: it begins the answer; white space there stays.
        before: comes before the text, if there is any.
    """

    def __init__(self, sink: Sink, *, is_first: bool = False, before: str = "") -> None:
        self._sink = sink
        self._before = before
        self._has_begun = is_first
        self._held: list[str] = []
        self.has_said = False

    def add(self, text: str) -> None:
        if not self._has_begun:
            text = text.lstrip()
        kept = text.rstrip()
        if kept:
            self._sink("".join([self._before, *self._held, kept]))
            self._held.clear()
            self._before = ""
            self._has_begun = self.has_said = True
        if len(kept) < len(text):
            self._held.append(text[len(kept) :])

    def trim(self) -> None:
        """Leaves out the white space around this place."""
        self._held.clear()
        if not self.has_said:
            self._has_begun = False

    def keep(self) -> None:
        """Hands on the white space at the end, too."""
        self._sink("".join(self._held))
        self._held.clear()
