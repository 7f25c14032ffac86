"""A model's tokenizer in a limited process, and what it says of itself.

Knows nothing of templates, streams or models.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unisono.core import errors
from unisono.text.limited.process import LimitBrokenError, Limits
from unisono.text.limited.program import LimitedProgram
from unisono.text.token_bound import TokenBound

_PROGRAM = Path(__file__).with_name("tokenizer_program.py")
_LIMITS = Limits(
    max_cpu_s=2.0,
    cpu_s_per_byte=10e-6,
    max_start_cpu_s=120.0,
    max_memory_bytes=4 << 30,
)
_FETCH = "Fetch the model again, or upgrade the package `tokenizers`."


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizerFacts:
    """The facts about a tokenizer that are known without running it."""

    tokens: dict[int, str]
    """By id, as the vocabulary spells them."""
    special_ids: frozenset[int]
    named: dict[str, str]
    chat_templates: dict[str, str]
    decoder: dict[str, Any] | None
    bound: TokenBound


class TokenizerProcess:
    """The processes end with this object.

    Args:
        folder: a model folder, or a GGUF file.

    Raises:
        CheckpointError: a file is missing, too large or corrupt, or the tokenizer asks for more
            than it may.
        UnsupportedModelError: the vocabulary is of a kind that is not known.
        HelperFailedError: the process was killed or stopped, twice.
    """

    def __init__(self, folder: Path, limits: Limits = _LIMITS) -> None:
        greetings: list[bytes] = []

        def check(greeting: bytes) -> None:
            if greeting.startswith(b'{"error"'):
                raise _model_error(json.loads(greeting))
            if not greetings:
                greetings.append(greeting)

        self._program = LimitedProgram(
            "tokenizer",
            _PROGRAM,
            {"folder": str(folder.absolute())},
            limits=limits,
            imports=("unisono", "tokenizers"),
            check=check,
        )
        try:
            self._program.start()
        except LimitBrokenError as error:
            raise errors.CheckpointError(
                "The model's tokenizer cannot be built: it takes more than "
                f"{limits.max_start_cpu_s:g} s of computing or {limits.max_memory_bytes >> 20} MiB "
                "of memory.",
                hint=_FETCH,
            ) from error
        self.facts = _read_facts(json.loads(greetings.pop()))
        greetings.append(b"")  # the others say the same

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """Token ids of ``text``, which is valid Unicode.

        Raises:
            InvalidRequestError: the tokenizer makes more of the text than it may.
            CheckpointError: it breaks down over it.
            HelperFailedError: as of the class.
        """
        what = b"s" if add_special_tokens else b"e"
        return array("I", self._ask(what + text.encode())).tolist()

    def encode_literally(self, text: str, other: str | None = None) -> list[int]:
        """Token ids of a text in which no special token is read, and none is added; or of two such
        texts as a pair, with what goes around them. Errors as of :meth:`encode`."""
        if other is None:
            return array("I", self._ask(b"l" + text.encode())).tolist()
        first = text.encode()
        pair = b"p" + len(first).to_bytes(8, "little") + first + other.encode()
        return array("I", self._ask(pair)).tolist()

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool) -> str:
        """Text of ids from 0 to 2**32 - 1; errors as of :meth:`encode`."""
        what = b"k" if skip_special_tokens else b"d"
        return self._ask(what + array("I", token_ids).tobytes()).decode()

    def _ask(self, request: bytes) -> bytes:
        try:
            reply = self._program.ask(request)
        except LimitBrokenError as error:
            raise errors.InvalidRequestError(
                "The model's tokenizer makes so much of this text that it is stopped.",
                hint="Shorten the text; if it is short, the tokenizer is damaged.",
            ) from error
        if reply[:1] == b"!":
            failed = reply[1:].decode("utf-8", "replace")
            raise errors.CheckpointError(
                f"the model's tokenizer fails on this text: {failed}.", hint=_FETCH
            )
        return reply[1:]


def _read_facts(facts: dict[str, Any]) -> TokenizerFacts:
    return TokenizerFacts(
        tokens=dict(zip(facts["ids"], facts["tokens"], strict=True)),
        special_ids=frozenset(facts["special_ids"]),
        named=facts["named"],
        chat_templates=facts["chat_templates"],
        decoder=facts["decoder"],
        bound=TokenBound(**facts["bound"]),
    )


def _model_error(reply: dict[str, str]) -> errors.ModelError:
    kinds = (errors.UnsupportedModelError, errors.CheckpointError, errors.ModelNotFoundError)
    kind = next((one for one in kinds if one.__name__ == reply["error"]), errors.ModelError)
    return kind(reply["message"], hint=reply["hint"])
