"""Processes of their own that begin with torch imported: forked from one that does nothing else.
They draw the same random numbers each time."""

from __future__ import annotations

import random
import traceback
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

import torch

from tests.waiting import PATIENCE_S

_CONTEXT = get_context("forkserver")
_CONTEXT.set_forkserver_preload(["torch._dynamo", "unisono.llm", "unisono_virtual"])


class Forked:
    """A function that runs in a process of its own. It is found there by its name."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._answers, theirs = _CONTEXT.Pipe(duplex=False)
        self._process = _CONTEXT.Process(
            target=_answer, args=(theirs, function, arguments), daemon=True
        )
        self._process.start()
        theirs.close()

    def result(self) -> Any:
        """The function's result.

        Raises:
            AssertionError: it raised, died, or gave no answer in time.
        """
        error, value = "it died or hung", None
        try:
            if self._answers.poll(PATIENCE_S):
                error, value = self._answers.recv()
            else:
                self._process.kill()
        except EOFError:
            pass
        self._process.join()
        assert not error, f"{error} (exit code {self._process.exitcode})"
        return value


def _answer(answers: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    random.seed(0)
    torch.manual_seed(0)
    try:
        answers.send(("", function(*arguments)))
    except BaseException:
        answers.send((traceback.format_exc(), None))
