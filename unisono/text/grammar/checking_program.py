"""The program that compiles constraints to see whether they can be; loaded by ``limited.worker``.

A request is a constraint as JSON; the reply says what is wrong with it, or nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from unisono.core.constraint import Constraint
from unisono.core.errors import InvalidRequestError
from unisono.text.grammar.compiler import GrammarCompiler
from unisono.text.grammar.vocabulary import Vocabulary


def start(hello: Mapping[str, Any]) -> tuple[bytes, Callable[[bytes], bytes]]:
    """Makes the compiler, for a vocabulary of bytes and special tokens."""
    special = {int(token_id): text.encode() for token_id, text in hello["special"].items()}
    tokens = tuple(special.get(token_id, b"") for token_id in range(hello["size"]))
    vocabulary = Vocabulary(tokens, tuple(special)).reduced()
    end = len(vocabulary.tokens)
    compiler = GrammarCompiler(lambda: vocabulary.sized(end + 1), end + 1, [end])

    def answer(request: bytes) -> bytes:
        try:
            compiler.matcher(Constraint(**json.loads(request)))
        except InvalidRequestError as error:
            told = {"message": error.message, "param": error.param, "hint": error.hint}
            return json.dumps(told).encode()
        return b"null"

    return b"", answer
