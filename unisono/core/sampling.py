"""How the next token is chosen: the parameters of one request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from unisono.core.errors import InvalidRequestError
from unisono.core.sampling_defaults import (
    NEUTRAL,
    SamplingDefaults,
    check_choice,
    check_int,
    check_number,
)

__all__ = ["MAX_ALLOWED_TOKENS", "MAX_LOGPROBS", "SamplingParams"]

MAX_ALLOWED_TOKENS = 16384
MAX_LOGPROBS = 100
_MAX_N = 128
_MAX_STOP = 64
_MAX_STOP_LENGTH = 1024
_MAX_LOGIT_BIAS = 1024
_SEED_LIMIT = 1 << 63
_CHOICE = tuple(each.name for each in fields(SamplingDefaults))
_FLAGS = ("include_stop_str_in_output", "skip_special_tokens", "ignore_eos")


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingParams:
    """All fields are optional. ``temperature=0`` is greedy.

    ``None`` for ``temperature``, ``top_k``, ``top_p``, ``min_p`` or ``repetition_penalty`` is what
    the model recommends (:class:`SamplingDefaults`), and :data:`NEUTRAL` where it does not.

    The order in which they act: repetition, presence and frequency penalty, logit bias, allowed
    tokens, minimum length, then temperature, top-k, top-p, min-p. Log-probabilities are those of
    the model, before any of these.

    Args:
        max_tokens: most tokens to generate; ``None`` is as many as the context holds. ``0`` with
            ``prompt_logprobs`` scores the prompt and generates nothing.
        min_tokens: no end-of-sequence or stop token before this many.
        temperature: 0 (greedy) to 100.
        top_k: keep the k most likely tokens; 0 keeps all.
        top_p: keep the most likely tokens whose probabilities sum to at least ``top_p``.
        min_p: keep tokens at least ``min_p`` times as likely as the likeliest.
        repetition_penalty: divides positive and multiplies negative logits of tokens seen in
            prompt or answer (Keskar et al. 2019, CTRL).
        presence_penalty, frequency_penalty: as in the OpenAI API, over the generated tokens.
        logit_bias: token id -> number added to its logit.
        allowed_token_ids: no other token is ever chosen; ``None`` allows all.
        stop: texts that end the answer.
        include_stop_str_in_output: the text that ended the answer is part of it.
        skip_special_tokens: leave special tokens out of the answer's text.
        stop_token_ids: token ids that end the answer.
        ignore_eos: go on after the end-of-sequence token.
        n: number of answers.
        seed: the same seed gives the same answer; ``None`` draws one.
        logprobs: give the log-probability of each token and of the k likeliest.
        prompt_logprobs: the same for the tokens of the prompt.

    Raises:
        InvalidRequestError: a value out of range, named by ``param``.
    """

    max_tokens: int | None = 256
    min_tokens: int = 0
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    allowed_token_ids: tuple[int, ...] | None = None
    stop: tuple[str, ...] = ()
    include_stop_str_in_output: bool = False
    skip_special_tokens: bool = True
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    n: int = 1
    seed: int | None = None
    logprobs: int | None = None
    prompt_logprobs: int | None = None

    def __post_init__(self) -> None:
        self._normalise()
        if self.max_tokens is not None:
            check_int("max_tokens", self.max_tokens, 0, 1 << 31)
        check_int("min_tokens", self.min_tokens, 0, 1 << 31)
        if self.max_tokens is not None and self.min_tokens > self.max_tokens:
            raise InvalidRequestError("min_tokens is larger than max_tokens.", param="min_tokens")
        check_choice(self)
        check_number("presence_penalty", self.presence_penalty, -2.0, 2.0)
        check_number("frequency_penalty", self.frequency_penalty, -2.0, 2.0)
        check_int("n", self.n, 1, _MAX_N)
        if self.seed is not None:
            check_int("seed", self.seed, -_SEED_LIMIT, _SEED_LIMIT - 1)
        for name in ("logprobs", "prompt_logprobs"):
            if getattr(self, name) is not None:
                check_int(name, getattr(self, name), 0, MAX_LOGPROBS)
        self._check_lists()

    def _normalise(self) -> None:
        stop: Any = self.stop
        given = (stop,) if isinstance(stop, str) else () if stop is None else stop
        object.__setattr__(self, "stop", _as_tuple("stop", given))
        token_ids = () if self.stop_token_ids is None else self.stop_token_ids
        object.__setattr__(self, "stop_token_ids", _as_tuple("stop_token_ids", token_ids))
        bias: Any = {} if self.logit_bias is None else self.logit_bias
        if not isinstance(bias, Mapping):
            raise _wrong_kind("logit_bias", "a mapping from token ids to numbers", bias)
        object.__setattr__(self, "logit_bias", dict(bias))
        if self.allowed_token_ids is not None:
            allowed = _as_tuple("allowed_token_ids", self.allowed_token_ids)
            object.__setattr__(self, "allowed_token_ids", allowed)
        for name in _FLAGS:
            if not isinstance(getattr(self, name), bool):
                raise _wrong_kind(name, "true or false", getattr(self, name))

    def _check_lists(self) -> None:
        if len(self.stop) > _MAX_STOP:
            raise InvalidRequestError(f"stop takes at most {_MAX_STOP} entries.", param="stop")
        for text in self.stop:
            if not isinstance(text, str) or not 0 < len(text) <= _MAX_STOP_LENGTH:
                raise InvalidRequestError(
                    f"each stop text has 1 to {_MAX_STOP_LENGTH} characters.", param="stop"
                )
        if len(self.stop_token_ids) > _MAX_STOP:
            raise InvalidRequestError(
                f"stop_token_ids takes at most {_MAX_STOP} entries.", param="stop_token_ids"
            )
        for token_id in self.stop_token_ids:
            check_int("stop_token_ids", token_id, 0, 1 << 31)
        if self.allowed_token_ids is not None:
            self._check_allowed(self.allowed_token_ids)
        if len(self.logit_bias) > _MAX_LOGIT_BIAS:
            raise InvalidRequestError(
                f"logit_bias takes at most {_MAX_LOGIT_BIAS} entries.", param="logit_bias"
            )
        for token_id, bias in self.logit_bias.items():
            check_int("logit_bias", token_id, 0, 1 << 31)
            check_number("logit_bias", bias, -100.0, 100.0)

    def filled(self, defaults: SamplingDefaults = NEUTRAL) -> SamplingParams:
        """The same, with ``defaults`` where these say nothing."""
        said = defaults.said()
        missing = {name: said[name] for name in said if getattr(self, name) is None}
        return replace(self, **missing) if missing else self  # type: ignore[arg-type]

    def choice(self) -> SamplingDefaults:
        """How a token is chosen, as far as these say."""
        return SamplingDefaults(**{name: getattr(self, name) for name in _CHOICE})

    def _check_allowed(self, token_ids: tuple[int, ...]) -> None:
        if not 0 < len(token_ids) <= MAX_ALLOWED_TOKENS:
            raise InvalidRequestError(
                f"allowed_token_ids takes 1 to {MAX_ALLOWED_TOKENS} entries.",
                param="allowed_token_ids",
            )
        for token_id in token_ids:
            check_int("allowed_token_ids", token_id, 0, 1 << 31)

    @property
    def greedy(self) -> bool:
        return self.temperature == 0.0

    @property
    def has_penalties(self) -> bool:
        return (
            self.repetition_penalty not in (None, 1.0)
            or self.presence_penalty != 0.0
            or self.frequency_penalty != 0.0
        )


def _as_tuple(name: str, values: Any) -> tuple[Any, ...]:
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable):
        raise _wrong_kind(name, "a list", values)
    return tuple(values)


def _wrong_kind(name: str, kind: str, value: Any) -> InvalidRequestError:
    return InvalidRequestError(f"{name} must be {kind}, not {value!r:.40}.", param=name)
