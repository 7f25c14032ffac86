"""How the outputs of a step cross the wire: compact lists, checked when they are read.

Knows ``RequestOutput`` and its parts; nothing of sockets or HTTP.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast, get_args

from unisono.core import errors
from unisono.core.request import FinishReason, RequestOutput, TokenLogprob
from unisono.server.engine.wire import ProtocolError, decode_error

__all__ = ["EngineFacts", "StepMessage", "decode_facts", "decode_step", "encode_output"]

_FINISH_REASONS = (None, *get_args(FinishReason))


@dataclass(frozen=True, kw_only=True)
class EngineFacts:
    """What the API process needs to know of the engine that is running."""

    max_model_len: int
    vocab_size: int
    description: dict[str, str | int]
    """Everything the engine says of itself: device, dtype, number of blocks, ..."""


@dataclass(frozen=True)
class StepMessage:
    """What one engine step brought for all requests."""

    outputs: list[RequestOutput]
    rejected: list[tuple[str, errors.UnisonoError]]
    stats: dict[str, float] | None


def encode_output(output: RequestOutput) -> list[Any]:
    return [
        output.request_id,
        output.token_ids,
        _encode_logprobs(output.logprobs),
        _encode_logprobs(output.prompt_logprobs),
        output.finish_reason,
        output.stop_token_id,
        output.error,
        output.num_cached_tokens,
    ]


def _encode_logprobs(items: Any) -> list[Any] | None:
    if items is None:
        return None
    return [
        None if item is None else [item.token_id, item.logprob, item.rank, item.top]
        for item in items
    ]


def decode_step(message: list[Any]) -> StepMessage:
    """Raises:
    ProtocolError: not a ``step`` message.
    """
    match message:
        case ["step", list(outputs), list(rejected), None | dict() as stats]:
            return StepMessage(
                [_decode_output(fields) for fields in outputs],
                [_decode_rejection(fields) for fields in rejected],
                None if stats is None else _decode_stats(stats),
            )
    raise ProtocolError("not a step message")


def _decode_rejection(fields: Any) -> tuple[str, errors.UnisonoError]:
    match fields:
        case [str(name), error]:
            return name, decode_error(error)
    raise ProtocolError("a rejection has two fields")


def _decode_output(fields: Any) -> RequestOutput:
    match fields:
        case [
            str(name),
            list(token_ids),
            None | list() as logprobs,
            None | list() as prompt_logprobs,
            None | str() as finish_reason,
            None | int() as stop_token_id,
            None | str() as error,
            int(num_cached_tokens),
        ]:
            if finish_reason not in _FINISH_REASONS:
                raise ProtocolError("an unknown finish reason")
            return RequestOutput(
                name,
                token_ids,
                None if logprobs is None else [_decode_logprob(item) for item in logprobs],
                None if prompt_logprobs is None else _decode_prompt_logprobs(prompt_logprobs),
                cast(FinishReason | None, finish_reason),
                stop_token_id,
                error,
                num_cached_tokens,
            )
    raise ProtocolError("an output has eight fields")


def _decode_prompt_logprobs(items: Any) -> list[TokenLogprob | None]:
    return [None if item is None else _decode_logprob(item) for item in items]


def _decode_logprob(fields: Any) -> TokenLogprob:
    match fields:
        case [int(token_id), float(logprob), int(rank), list(top)]:
            try:
                return TokenLogprob(token_id, logprob, rank, tuple((i, p) for i, p in top))
            except (TypeError, ValueError) as error:
                raise ProtocolError("a list of likeliest tokens is of pairs") from error
    raise ProtocolError("a log-probability has four fields")


def _decode_stats(stats: dict[Any, Any]) -> dict[str, float]:
    if not all(isinstance(k, str) and isinstance(v, int | float) for k, v in stats.items()):
        raise ProtocolError("statistics are numbers")
    return stats


def decode_facts(message: list[Any]) -> EngineFacts:
    """Raises:
    ProtocolError: not a ``ready`` message.
    """
    match message:
        case ["ready", {"max_model_len": int(length), "vocab_size": int(size), **rest}]:
            known: dict[str, str | int] = {
                str(name): value for name, value in rest.items() if isinstance(value, str | int)
            }
            return EngineFacts(max_model_len=length, vocab_size=size, description=known)
    raise ProtocolError("not a ready message")
