"""Tokens and their log-probabilities in the three shapes that the API has for them.

Knows token records and the tokenizer; nothing of requests or HTTP.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import Any

from unisono.core.request import TokenLogprob
from unisono.text.tokenizer import Tokenizer

_ID_PREFIX = "token_id:"

_LOWEST = -9999.0
"""Stands for minus infinity, which JSON cannot say."""


def _finite(logprob: float) -> float:
    return logprob if logprob > _LOWEST else _LOWEST


def chat_logprobs(
    tokenizer: Tokenizer, items: Sequence[TokenLogprob], *, shows_ids: bool = False
) -> dict[str, Any]:
    """``{"content": [{"token", "logprob", "bytes", "top_logprobs"}]}``.

    ``shows_ids``: a token's name is ``token_id:`` and its id, instead of its text.
    """
    return {
        "content": [
            {
                **_chat_token(tokenizer, item.token_id, item.logprob, shows_ids),
                "top_logprobs": [_chat_token(tokenizer, *pair, shows_ids) for pair in item.top],
            }
            for item in items
        ],
        "refusal": None,
    }


def _chat_token(
    tokenizer: Tokenizer, token_id: int, logprob: float, shows_ids: bool
) -> dict[str, Any]:
    return {
        "token": f"{_ID_PREFIX}{token_id}" if shows_ids else tokenizer.token_text(token_id),
        "logprob": _finite(logprob),
        "bytes": list(tokenizer.token_bytes(token_id) or b""),
    }


def prompt_logprobs(
    tokenizer: Tokenizer, items: Sequence[TokenLogprob | None]
) -> list[dict[str, Any] | None]:
    """One for each prompt token: ``{token id: {"logprob", "rank", "decoded_token"}}``."""
    return [None if item is None else _prompt_token(tokenizer, item) for item in items]


def _prompt_token(tokenizer: Tokenizer, item: TokenLogprob) -> dict[str, Any]:
    ranked = {token_id: (lp, rank) for rank, (token_id, lp) in enumerate(item.top, start=1)}
    ranked[item.token_id] = (item.logprob, item.rank)
    return {
        str(token_id): {
            "logprob": _finite(lp),
            "rank": rank,
            "decoded_token": tokenizer.token_text(token_id),
        }
        for token_id, (lp, rank) in ranked.items()
    }


class LegacyLogprobs:
    """The ``logprobs`` object of plain completions; knows how far the text has come."""

    def __init__(self, tokenizer: Tokenizer, num_top: int, *, shows_ids: bool = False) -> None:
        self._shows_ids = shows_ids
        self._tokenizer = tokenizer
        self._num_top = num_top
        self._offset = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def view(
        self, token_ids: Sequence[int], items: Sequence[TokenLogprob | None]
    ) -> dict[str, list[Any]]:
        """``text_offset``, ``tokens``, ``token_logprobs`` and ``top_logprobs`` of some tokens."""
        view: dict[str, list[Any]] = {
            "text_offset": [],
            "tokens": [],
            "token_logprobs": [],
            "top_logprobs": [],
        }
        for token_id, item in zip(token_ids, items, strict=True):
            view["text_offset"].append(self._offset)
            view["tokens"].append(self._name(token_id))
            view["token_logprobs"].append(None if item is None else _finite(item.logprob))
            view["top_logprobs"].append(None if item is None else self._top(item))
            self._offset += len(self._decoder.decode(self._tokenizer.token_bytes(token_id) or b""))
        return view

    def _name(self, token_id: int) -> str:
        """The token's text; ``bytes:\\xe4\\xbd`` for part of a character."""
        if self._shows_ids:
            return f"{_ID_PREFIX}{token_id}"
        content = self._tokenizer.token_bytes(token_id) or b""
        try:
            return content.decode("utf-8")
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in content)

    def _top(self, item: TokenLogprob) -> dict[str, float]:
        likeliest = {
            self._name(token_id): _finite(lp) for token_id, lp in item.top[: self._num_top]
        }
        likeliest.setdefault(self._name(item.token_id), _finite(item.logprob))
        return likeliest
