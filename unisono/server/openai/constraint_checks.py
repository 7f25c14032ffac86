"""Constraints of requests, checked away from the event loop before an engine sees them."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

from unisono.core.errors import InvalidRequestError
from unisono.server.openai.constraint_fields import Asked
from unisono.text.grammar.checking import ConstraintChecker
from unisono.text.grammar.vocabulary import Vocabulary
from unisono.text.tokenizer import Tokenizer


class ConstraintChecks:
    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="check-constraints")

    async def check(self, asked: Asked | None) -> None:
        """Raises:
        InvalidRequestError: the constraint that is asked for cannot be enforced, or takes too
            much; the field is named.
        """
        if asked is None:
            return
        try:
            await asyncio.get_running_loop().run_in_executor(
                self._threads, lambda: self._checker.check(asked.constraint)
            )
        except InvalidRequestError as error:
            raise InvalidRequestError(error.message, param=asked.param, hint=error.hint) from error

    @cached_property
    def _checker(self) -> ConstraintChecker:
        return ConstraintChecker(Vocabulary.of(self._tokenizer))

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
