"""The number of threads that compute, and who decides it."""

from __future__ import annotations

import pytest

from unisono.hardware import threads


@pytest.mark.parametrize(
    ("asked", "variable", "start", "now", "usable", "expected"),
    [
        (None, None, 8, 8, 16, 8),
        (None, None, 8, 8, 2, 2),
        (None, "8", 8, 8, 2, 8),
        (None, None, 8, 5, 2, 5),
        (12, "8", 8, 8, 2, 12),
        (1, None, 8, 8, 16, 1),
    ],
    ids=["torch", "quota", "variable", "program", "asked for", "asked for few"],
)
def test_the_first_who_has_said_something_decides(
    monkeypatch: pytest.MonkeyPatch,
    asked: int | None,
    variable: str | None,
    start: int,
    now: int,
    usable: int,
    expected: int,
) -> None:
    monkeypatch.delenv(threads.THREADS_VARIABLE, raising=False)
    if variable is not None:
        monkeypatch.setenv(threads.THREADS_VARIABLE, variable)
    monkeypatch.setattr(threads, "_AT_START", start)
    monkeypatch.setattr(threads, "current_threads", lambda: now)
    monkeypatch.setattr(threads, "usable_cores", lambda: usable)
    assert threads.choose_threads(asked) == expected


@pytest.mark.parametrize(("now", "size", "each"), [(8, 2, 4), (8, 3, 2), (1, 4, 1)])
def test_ranks_share_them(monkeypatch: pytest.MonkeyPatch, now: int, size: int, each: int) -> None:
    monkeypatch.setattr(threads, "current_threads", lambda: now)
    assert threads.share_threads(size) == each
