"""Calls amid text that is free: the grammar of answers that may call tools and need not."""

from __future__ import annotations

from collections.abc import Sequence

from unisono.text.parsers.call_grammar import CallGrammar, Node


def amid(
    grammar: CallGrammar,
    opens: Sequence[str],
    calls: Sequence[list[Node]],
    *,
    bare: Sequence[Node],
    others: Sequence[str],
    joins: str = "",
) -> Node:
    """A node for such answers.

    Args:
        opens: marks that begin calls: wherever one stands, one of ``calls`` begins.
        bare: calls that no mark announces, as a whole answer.
        others: marks that may stand in the text.
        joins: letters by which calls go on, and no text behind them begins.
    """
    letters = grammar.marks.pieces
    tokens = [_only_token(letters(mark)) for mark in opens]
    taken = {piece for mark in others for piece in letters(mark) if isinstance(piece, int)}
    if not bare and None not in tokens and not taken.intersection(tokens):
        return {"between": [node for node in calls if isinstance(node[0], int)], "tokens": tokens}
    marks = [letters(mark) for mark in others if grammar.marks.is_token(mark)]
    return {
        "amid": [*(_led(node, opens) for node in calls), *(_led(mark, ()) for mark in marks)],
        "never": sorted({one for mark in opens for one in grammar.never(mark)}),
        "bare": list(bare),
        "joins": joins,
        "names": [tool.name for tool in grammar.tools],
    }


def _only_token(pieces: list[str | int]) -> int | None:
    first = pieces[0]
    return first if len(pieces) == 1 and isinstance(first, int) else None


def _led(node: list[Node], opens: Sequence[str]) -> list[Node]:
    """The letters that come first, up to a token or the end of a mark, and the rest."""
    first = node[0]
    if not isinstance(first, str):
        return ["", *node]
    mark = max((mark for mark in opens if first.startswith(mark)), key=len, default=first)
    return [mark, first[len(mark) :], *node[1:]]
