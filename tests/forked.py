"""Processes of their own that begin with torch imported: forked from one that does nothing else."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

__all__ = ["Forked"]

_CONTEXT = get_context("forkserver")
_CONTEXT.set_forkserver_preload(["torch._dynamo", "unisono.llm", "unisono_virtual"])


class Forked:
    """A function that runs in a process of its own. It is found there by its name."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._answers, theirs = _CONTEXT.Pipe(duplex=False)
        self._process = _CONTEXT.Process(target=_answer, args=(theirs, function, arguments))
        self._process.start()
        theirs.close()

    def result(self) -> Any:
        """The function's result.

        Raises:
            AssertionError: it raised, or its process died.
        """
        try:
            error, value = self._answers.recv()
        except EOFError:
            error, value = "it died", None
        self._process.join()
        assert not error, f"{error} (exit code {self._process.exitcode})"
        return value


def _answer(answers: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    try:
        answers.send(("", function(*arguments)))
    except BaseException:
        answers.send((traceback.format_exc(), None))
