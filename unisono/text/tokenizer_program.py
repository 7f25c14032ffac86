"""The program that builds a model's tokenizer and runs it, in a process of its own under limits.

A tokenizer comes with a model and is not trusted: a few lines of it may turn a letter into
terabytes, and the package `tokenizers` then ends the process it is in. Loaded by
``limited.worker``. The greeting says all that can be said without running it; a request is a
letter (what to do) and a text, or token ids as unsigned 32-bit numbers.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as Backend

from unisono.core.errors import ModelError
from unisono.text.token_bound import read_token_bound
from unisono.text.vocabulary.building import build_tokenizer
from unisono.text.vocabulary.built_tokenizer import BuiltTokenizer
from unisono.text.vocabulary.native import native_call


def start(hello: Mapping[str, Any]) -> tuple[bytes, Callable[[bytes], bytes] | None]:
    """Builds the tokenizer of ``folder``."""
    try:
        with native_call(
            "the tokenizer cannot be used",
            hint="Fetch the model again, or upgrade the package `tokenizers`.",
        ):
            built = build_tokenizer(Path(hello["folder"]))
            facts = _facts(built)
    except ModelError as error:
        failure = {"error": type(error).__name__, "message": error.message, "hint": error.hint}
        return json.dumps(failure).encode(), None
    return json.dumps(facts).encode(), lambda request: _answer(built.backend, request)


def _facts(built: BuiltTokenizer) -> dict[str, Any]:
    backend = built.backend
    added = backend.get_added_tokens_decoder()
    texts = {token_id: text for text, token_id in backend.get_vocab(with_added_tokens=True).items()}
    texts |= {token_id: token.content for token_id, token in added.items()}
    decoder = backend.decoder
    return {
        "ids": list(texts),
        "tokens": list(texts.values()),
        "special_ids": [token_id for token_id, token in added.items() if token.special],
        "named": built.named,
        "chat_templates": built.chat_templates,
        "decoder": None if decoder is None else json.loads(decoder.__getstate__()),
        "bound": asdict(read_token_bound(backend)),
    }


def _answer(backend: Backend, request: bytes) -> bytes:
    """``e``, ``s``: ids of a text, without and with special tokens; ``l``: of one in which none is
    read; ``p``: of two such texts as a pair, behind the length of the first in eight bytes; ``d``,
    ``k``: text of ids, with and without special tokens. The reply begins with ``=``, or ``!`` and
    what went wrong."""
    what, content = request[:1], request[1:]
    try:
        if what in b"lp":
            return b"=" + _encode_literally(backend, content, is_pair=what == b"p")
        if what in b"es":
            return b"=" + _encode(backend, content.decode(), special=what == b"s")
        ids = array("I", content).tolist()
        return b"=" + backend.decode(ids, skip_special_tokens=what == b"k").encode()
    except (MemoryError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic there is no ``Exception``
        return b"!" + str(error)[:200].encode("utf-8", "replace")


def _encode_literally(backend: Backend, content: bytes, *, is_pair: bool) -> bytes:
    """Marks of special tokens in a text are text."""
    backend.encode_special_tokens = True
    try:
        if not is_pair:
            return _encode(backend, content.decode(), special=False)
        end = 8 + int.from_bytes(content[:8], "little")
        pair = (content[8:end].decode(), content[end:].decode())
        return _encode(backend, pair, special=True)
    finally:
        backend.encode_special_tokens = False


def _encode(backend: Backend, text: str | tuple[str, str], *, special: bool) -> bytes:
    (encoding,) = backend.encode_batch_fast([text], add_special_tokens=special)
    return array("I", encoding.ids).tobytes()
