"""Picks the reason and the place of a crash from what a process wrote to standard error.

Leaves out what libraries write beside it: warnings, advice, frames of their own.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import IO

_TAIL = 50_000
_LONGEST = 200
_FRAME = re.compile(r'File "(?P<path>[^"]+)", line (?P<line>\d+)(?: in (?P<function>.+))?')
_NOISE = re.compile(
    r"""
    ^(File\ "|Thread\ 0x|Current\ thread\ 0x|Stack\ \(most|Traceback\ \(most|Extension\ modules?:)
    | ^\[?W\d{4}\b | ^\[W\b | \w*Warning\b | ^warnings\.warn | ^\W*WARN(ING)?\b | ^\W*INFO\b
    | ^frame\ \#\d | ^\#\d+\ | ^Exception\ raised\ from | ^<no\ Python\ frame>
    | ^(note|hint|tip):\  | ^To\ (learn|suppress|silence|enable|disable)\b | ^See\ (also\ )?http
    | please\ (report|file|open|consider|visit|see) | ^(Consider|Compile\ with|Set|For\ more)\b
    | ^Fatal\ Python\ error:\ (Aborted|Segmentation\ fault|Bus\ error|Illegal\ instruction)$
    | ^(\^|~)+$ | ^https?://
    """,
    re.VERBOSE | re.IGNORECASE,
)
_REASON = re.compile(
    r"what\(\)|error|fail|fatal|abort|assert|panic|exception|lost|invalid|illegal|killed|memory"
    r"|cannot|could not|unable",
    re.IGNORECASE,
)


def last_words(log: IO[bytes]) -> str:
    """``at FILE:LINE (function)`` and the reason, each where there is one."""
    log.seek(0, os.SEEK_END)
    log.seek(max(0, log.tell() - _TAIL))
    lines = [line.strip() for line in log.read().decode(errors="replace").splitlines()]
    said = [line for line in lines if line and not _NOISE.search(line)]
    place, reasons = _place(lines), [line for line in said if _REASON.search(line)]
    last = (reasons or ([] if place else said))[-1:]
    return " ".join([*([place] if place else []), *(f"({line[:_LONGEST]})" for line in last)])


def _place(lines: list[str]) -> str:
    """The innermost frame outside the kit, from a traceback that faulthandler left."""
    for line in lines:
        frame = _FRAME.match(line)
        if frame and "/unisono/conformance/" not in frame["path"]:
            function = f" ({frame['function']})" if frame["function"] else ""
            return f"at {Path(frame['path']).name}:{frame['line']}{function}"
    return ""
