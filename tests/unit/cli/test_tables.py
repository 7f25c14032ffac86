"""Tables at any width: no word is cut, nothing is left out."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from unisono.cli.tables import new_table, print_line, print_table

ROWS = [
    ("cpu", "a processor with native kernels (avx2)", "bfloat16, float32, float16", "verified"),
    (
        "npu:12",
        "昇腾 910B 加速卡，尚未在芯片上运行过",
        "pinned_memory, async_copy",
        "unverified",
    ),
    ("x", "", "[bold]no markup[/bold] :smile:", "-"),
]


def shown(width: int, *, numbers: bool = False) -> str:
    table = new_table("device", "what it\nis", "features", "status", numbers=numbers)
    for row in ROWS:
        table.add_row(Text(row[0], "green"), *row[1:])
    return printed(width, lambda console: print_table(console, table))


def printed(width: int, show: Callable[[Console], None]) -> str:
    file = io.StringIO()
    show(Console(file=file, width=width, markup=False, emoji=False, highlight=False))
    return file.getvalue()


@pytest.mark.parametrize("numbers", [False, True])
@pytest.mark.parametrize("width", [200, 100, 80, 60, 40, 30])
def test_no_word_is_cut_and_none_is_missing(width: int, numbers: bool) -> None:
    text = shown(width, numbers=numbers)
    assert all(cell_len(line.rstrip()) <= width for line in text.splitlines())
    words = text.split()
    for row in ROWS:
        for cell in row:
            if cell.isascii():
                assert set(cell.split()) <= set(words), (width, cell)
            else:
                assert set(cell) - {" "} <= set(text)
    assert {"device", "what", "it", "is"} <= {word.rstrip(":") for word in words}


def test_a_wide_terminal_has_a_line_for_each_row() -> None:
    lines = shown(200).splitlines()
    assert len(lines) == 2 + len(ROWS)
    assert lines[2].split("  ")[0] == "cpu"


def test_a_narrow_one_has_a_block_for_each_row() -> None:
    lines = [line.rstrip() for line in shown(32).splitlines()]
    assert lines[0] == "device cpu"
    assert lines[1] == "  what it is: a processor with"
    assert lines[-2:] == ["  markup[/bold] :smile:", "  status: -"]


def test_on_a_narrow_one_a_cell_of_many_lines_makes_blocks() -> None:
    def lines(width: int) -> list[str]:
        table = new_table("level", "what to do")
        table.add_row("note", "one word after the other, all of them short, " * 3)
        return printed(width, lambda console: print_table(console, table)).splitlines()

    assert lines(40)[0] == "level note"
    assert lines(80)[0].startswith("level  what to do")


def test_what_is_longer_than_any_terminal_is_folded() -> None:
    table = new_table("key", "value")
    table.add_row("address", "a" * 100)
    assert printed(40, lambda console: print_table(console, table)).count("a" * 36) == 2


@pytest.mark.parametrize(("columns", "num_lines"), [(None, 1), ("40", 3)])
def test_lines_are_wrapped_where_there_is_a_width(
    monkeypatch: pytest.MonkeyPatch, columns: str | None, num_lines: int
) -> None:
    if columns is None:
        monkeypatch.delenv("COLUMNS", raising=False)
    else:
        monkeypatch.setenv("COLUMNS", columns)
    text = printed(40, lambda console: print_line(console, "word " * 20))
    assert len(text.rstrip().splitlines()) == num_lines
