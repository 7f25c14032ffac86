"""Tables on terminals of any width: columns while each word fits, blocks of lines where not."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

_LONGEST_WORD = 36
"""In cells: what is longer, such as an address, may be broken."""
_NARROW = 60
"""Cells of a terminal on which a cell may have few lines."""
_MOST_LINES = 2
_WIDE = "\u1100-\u115f\u2e80-\uffdc\U0001f000-\U0003ffff"
"""Characters of two cells; a line may be broken before and behind each of them."""
_UNBROKEN = re.compile(f"[^\\s{_WIDE}]+|[{_WIDE}]")


def new_console() -> Console:
    """For standard output; what it is given is plain text."""
    return Console(highlight=False, markup=False, emoji=False)


def new_table(*columns: str, numbers: bool = False, gap: int = 2) -> Table:
    """Without lines; ``numbers`` stand on the right. Cells are ``Text`` or plain strings."""
    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold", justify="right" if numbers else "left")
    return table


def print_line(console: Console, text: str, style: str = "") -> None:
    """Wrapped at words where there is a width; as it is in a pipe."""
    has_width = console.is_terminal or "COLUMNS" in os.environ
    console.print(Text(text, style), soft_wrap=not has_width)


def print_table(console: Console, table: Table, style: str = "") -> None:
    """A table if no word need be cut; otherwise each row as a heading and a line for each cell."""
    widths = _column_widths(table, console.width)
    if widths is None:
        _print_blocks(console, table, style)
        return
    for column, width in zip(table.columns, widths, strict=True):
        column.width = width
    console.print(table, style=style)


def _column_widths(table: Table, width: int) -> list[int] | None:
    """Each at least as wide as its longest word; None where they do not fit, or only in lines of
    few words. What is left goes to the columns that need least first."""
    cells = [[_text(column.header), *map(_text, column.cells)] for column in table.columns]
    least = [max(_longest_word(text) for text in column) for column in cells]
    most = [max(_longest_line(text) for text in column) for column in cells]
    left = width - sum(least) - table.padding[1] * (len(cells) - 1)
    if left < 0:
        return None
    widths = list(least)
    by_need = sorted(range(len(cells)), key=lambda index: most[index] - least[index])
    for rank, index in enumerate(by_need):
        more = max(0, min(most[index] - least[index], left // (len(cells) - rank)))
        widths[index] += more
        left -= more
    is_cramped = any(need > _MOST_LINES * have for need, have in zip(most, widths, strict=True))
    return None if is_cramped and width < _NARROW else widths


def _print_blocks(console: Console, table: Table, style: str) -> None:
    headers = [" ".join(_text(column.header).split()) for column in table.columns]
    columns: Sequence[Sequence[object]] = [list(column.cells) for column in table.columns]
    for row in zip(*columns, strict=True):
        first = row[0] if isinstance(row[0], Text) else Text(_text(row[0]))
        lead = f"{headers[0]} " if headers[0] else ""
        console.print(Text.assemble(lead, first), style=style or "bold")
        for header, cell in zip(headers[1:], row[1:], strict=True):
            if text := _text(cell):
                line = Text(f"{header}: {text}" if header else text, style)
                console.print(Padding(line, (0, 0, 0, 2), expand=False))


def _text(cell: object) -> str:
    return cell.plain if isinstance(cell, Text) else str(cell)


def _longest_word(text: str) -> int:
    longest = max((cell_len(word) for word in _UNBROKEN.findall(text)), default=0)
    return min(longest, _LONGEST_WORD)


def _longest_line(text: str) -> int:
    return max(map(cell_len, text.split("\n")))
