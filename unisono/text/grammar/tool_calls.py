"""Answers that call tools, in the notation of llguidance.

The constraint's text is JSON: ``answer``, a node, ``parts`` of it, and ``instead``, a constraint
that the answer may have in place of it, or null. A node is a text, the id of a token, a list of
nodes one behind another, or an object:

- ``part``: one of the nodes ``parts``, by its place;
- ``any``: one of several nodes; ``many``: a node, at most ``most`` times; ``regex``: letters;
- ``schema``: JSON, ``strict`` or as far as the schema can be enforced;
- ``members``: parameters one by one (``tool_members.py``);
- ``between``: what follows on one of ``tokens``, amid anything else;
- ``amid``: nodes with the letters that come first, amid text (``tool_amid.py``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from typing import Any

from unisono.core.errors import InvalidRequestError
from unisono.text.grammar.rules import Rules
from unisono.text.grammar.tool_amid import amid
from unisono.text.grammar.tool_members import members

WriteSchema = Callable[[str, str], str]
"""From a schema as JSON text, and the parameter that errors name, to a symbol of a rule."""


def tool_calls(text: str, write_schema: WriteSchema, eos_token_ids: Collection[int]) -> str:
    """Raises:
    InvalidRequestError: the parameters of a strict tool cannot be enforced exactly.
    """
    asked: dict[str, Any] = json.loads(text)
    writer = NodeWriter(write_schema, eos_token_ids, parts=asked["parts"])
    start = writer.symbols(asked["answer"])
    if asked["instead"]:
        kind, other = asked["instead"]
        if kind != "schema":
            raise InvalidRequestError(f"{kind} does not go with tools.", param=kind)
        start = f"{start} | {write_schema(other, kind)}"
    return writer.whole(start)


class NodeWriter:
    """Args:
    param: to name in errors.
    parts: nodes that others name by their place.
    """

    def __init__(
        self,
        write_schema: WriteSchema,
        eos_token_ids: Collection[int],
        param: str = "tools",
        parts: Sequence[Any] = (),
    ) -> None:
        self._write_schema = write_schema
        self._parts = parts
        self._written: dict[int, str] = {}
        self._param = param
        self._eos_token_ids = eos_token_ids
        self.rules = Rules()

    def whole(self, start: str) -> str:
        """The grammar that begins so."""
        return "\n".join([f"start: {start}", *self.rules])

    def symbols(self, node: Any) -> str:
        """A node as symbols of a rule."""
        match node:
            case str():
                return json.dumps(node) if node else ""
            case int():
                return f"<[{node}]>"
            case list():
                return " ".join(filter(None, map(self.symbols, node)))
            case {"regex": regex}:
                return f"/{regex}/"
            case {"part": place}:
                if place not in self._written:
                    body = self.symbols(self._parts[place]) or '""'
                    self._written[place] = self.rules.named(body)
                return self._written[place]
            case {"any": nodes}:
                return self.rules.named(" | ".join(self.symbols(one) or '""' for one in nodes))
            case {"many": repeated, "most": most}:
                return f"{self.rules.named(self.symbols(repeated))}{{0,{most}}}"
            case {"schema": schema, "strict": strict}:
                return self.schema(schema, strict=strict)
            case {"members": _}:
                return members(node, self)
            case {"between": nodes, "tokens": tokens}:
                others = sorted({*tokens, *self._eos_token_ids})
                free = self.rules.named(f"<[^{','.join(map(str, others))}]>*")
                return f"{free} ({self.symbols({'any': nodes})} {free})*" if nodes else free
            case {"amid": _}:
                return amid(node, self)
        raise ValueError(f"no node: {node!r:.80}")

    def schema(self, schema: Any, *, strict: bool) -> str:
        """JSON by a schema, or any object where that cannot be enforced and is not ``strict``."""
        try:
            return self._write_schema(json.dumps(schema), self._param)
        except InvalidRequestError:
            if strict:
                raise
            return self._write_schema('{"type": "object"}', self._param)

    def json(self, schema: Any) -> str:
        """JSON by a schema.

        Raises:
            InvalidRequestError: it cannot be enforced.
        """
        return self._write_schema(json.dumps(schema), self._param)
