"""Hardware is a file that is found: no vendor and no device type is named anywhere else."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import unisono
from unisono.hardware import load_hardware

PACKAGE = Path(unisono.__file__).parent
SOURCES = [
    path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.relative_to(PACKAGE).parts[0] != "hardware"
]
HOST = {"cpu", "gloo", "any", ""}
"""The host is no accelerator: files are read to it, and its collectives carry others' bytes."""


def vendor_words() -> set[str]:
    """Names that hardware files give to devices, vendors, packages and collectives."""
    words = set()
    for cls in load_hardware()[0].values():
        facts = cls.facts
        if not cls.__module__.startswith("unisono.hardware."):
            continue
        words |= {facts.name, facts.device_type, facts.distributed_backend or ""}
        words |= {(facts.import_module or "").partition(".")[0], facts.tool or ""}
        words |= {facts.visible_devices_variable or "", facts.vendor}
    return {word.lower() for word in words} - HOST | {"hip"}


WORDS = vendor_words()
PATTERN = re.compile(rf"(?<![A-Za-z])({'|'.join(map(re.escape, sorted(WORDS)))})(?![A-Za-z])", re.I)


def spoken(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Names, attributes, imports and string constants of a file; not its docstrings."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if id(node) not in docstrings:
                yield node.lineno, node.value
        elif isinstance(node, ast.Name):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute):
            yield node.lineno, node.attr
        elif isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                yield node.lineno, f"{getattr(node, 'module', None) or ''} {alias.name}"


def test_the_words_are_the_vendors() -> None:
    assert {"cuda", "npu", "supa", "torch_npu", "nccl", "biren", "xpu", "mps"} <= WORDS
    assert PATTERN.search("torch.cuda")
    assert not PATTERN.search("a barracuda")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_outside_hardware_names_no_vendor(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    found = [
        f"{path.name}:{line} {match[0]!r} in {text[:60]!r}"
        for line, text in spoken(tree)
        if (match := PATTERN.search(text))
    ]
    assert not found, found
