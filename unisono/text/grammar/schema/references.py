"""References within one document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from unisono.text.grammar.schema.keywords import refuse


class References:
    """Args:
    root: the document.
    """

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root

    def pointer(self, value: str, *, is_elsewhere: bool) -> str:
        """The place in the document that a reference names.

        Args:
            is_elsewhere: it stands in a subschema with an id of its own.
        """
        base, _, fragment = value.partition("#")
        own = str(self._root.get("$id", self._root.get("id", ""))).partition("#")[0]
        if (base and base != own) or is_elsewhere:
            raise refuse("$ref", "to another document")
        if fragment and not fragment.startswith("/"):
            raise refuse("$ref", "to an anchor")
        return unquote(fragment)

    def target(self, pointer: str) -> Any:
        """The schema at that place."""
        found: Any = self._root
        for part in pointer.split("/")[1:]:
            if found is not self._root and isinstance(found, dict) and has_id(found):
                raise refuse("$ref", "into a schema with an id of its own")
            name = part.replace("~1", "/").replace("~0", "~")
            try:
                found = found[int(name) if isinstance(found, list) else name]
            except (KeyError, ValueError, IndexError, TypeError) as error:
                raise refuse("$ref", "to nothing") from error
        return found


def has_id(schema: dict[str, Any]) -> bool:
    return isinstance(schema.get("$id", schema.get("id")), str)
