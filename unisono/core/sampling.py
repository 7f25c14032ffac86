"""Sampling parameters of one request."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import InitVar, dataclass, field, fields, replace
from typing import Any

from unisono.core.constraint import Constraint
from unisono.core.errors import InvalidRequestError
from unisono.core.random import derive_seed
from unisono.core.sampling_defaults import NEUTRAL, SamplingDefaults
from unisono.core.sampling_limits import (
    BIAS,
    MAX_ALLOWED_TOKENS,
    MAX_LOGIT_BIAS,
    MAX_STOP_LENGTH,
    MAX_STOPS,
    TOKEN_ID,
    check_limits,
)

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
        thinking_token_budget: most tokens of reasoning in the answer to a chat; its end is forced
            there, or at a clean place shortly before.
        constraint: the answer is a text of this language. ``schema``, ``regex``, ``grammar``,
            ``choice`` and ``structural_tag`` make one: JSON by a JSON Schema, a match of a
            regular expression, a text of a grammar, one of some texts, or text that is free
            outside of tags. At most one of them is given.

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
    thinking_token_budget: int | None = None
    constraint: Constraint | None = None
    schema: InitVar[Mapping[str, Any] | bool | str | None] = None
    regex: InitVar[str | None] = None
    grammar: InitVar[str | None] = None
    choice: InitVar[Sequence[str] | None] = None
    structural_tag: InitVar[Mapping[str, Any] | str | None] = None

    def __post_init__(
        self, schema: Any, regex: Any, grammar: Any, choice: Any, structural_tag: Any
    ) -> None:
        self._normalise()
        self._take_constraint(
            schema=schema,
            regex=regex,
            grammar=grammar,
            choice=choice,
            structural_tag=structural_tag,
        )
        check_limits(self)
        if self.max_tokens is not None and self.min_tokens > self.max_tokens:
            raise InvalidRequestError("min_tokens is larger than max_tokens.", param="min_tokens")
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
        _check_length("stop", self.stop, MAX_STOPS)
        for text in self.stop:
            if not isinstance(text, str) or not 0 < len(text) <= MAX_STOP_LENGTH:
                raise InvalidRequestError(
                    f"each stop text has 1 to {MAX_STOP_LENGTH} characters.", param="stop"
                )
        _check_length("stop_token_ids", self.stop_token_ids, MAX_STOPS)
        _check_token_ids("stop_token_ids", self.stop_token_ids)
        if self.allowed_token_ids is not None:
            _check_length("allowed_token_ids", self.allowed_token_ids, MAX_ALLOWED_TOKENS, least=1)
            _check_token_ids("allowed_token_ids", self.allowed_token_ids)
        _check_length("logit_bias", self.logit_bias, MAX_LOGIT_BIAS)
        _check_token_ids("logit_bias", self.logit_bias)
        for bias in self.logit_bias.values():
            BIAS.check("logit_bias", bias)

    def _take_constraint(self, **values: Any) -> None:
        given: dict[Any, Any] = {name: one for name, one in values.items() if one is not None}
        if len(given) + (self.constraint is not None) > 1:
            raise InvalidRequestError(
                "An answer has at most one constraint.",
                param=next(reversed(given)),
                hint=f"Give one of {', '.join(values)}, or constraint.",
            )
        if not isinstance(self.constraint, Constraint | None):
            raise _wrong_kind("constraint", "a Constraint", self.constraint)
        for kind, value in given.items():
            object.__setattr__(self, "constraint", Constraint.of(kind, value))
        if self.constraint is None or not self.constraint.says_end:
            return
        for name in ("ignore_eos", "min_tokens"):
            if getattr(self, name):
                raise InvalidRequestError(
                    f"{name} does not go with {self.constraint.kind}, which says where the "
                    "answer ends.",
                    param=name,
                )

    def filled(self, defaults: SamplingDefaults = NEUTRAL) -> SamplingParams:
        """The same, with ``defaults`` where these say nothing."""
        said = defaults.said()
        missing = {name: said[name] for name in said if getattr(self, name) is None}
        return replace(self, **missing) if missing else self  # type: ignore[arg-type]

    def chosen(self) -> SamplingDefaults:
        """Sampling parameters, as far as these say."""
        return SamplingDefaults(**{name: getattr(self, name) for name in _CHOICE})

    def seeds(self) -> list[int]:
        """The seeds of the ``n`` answers, apart; drawn where ``seed`` is open."""
        seed = secrets.randbits(63) if self.seed is None else self.seed
        return [derive_seed(seed, index) for index in range(self.n)]

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


def _check_length(name: str, values: Collection[Any], most: int, *, least: int = 0) -> None:
    if not least <= len(values) <= most:
        how_many = f"{least} to {most}" if least else f"at most {most}"
        raise InvalidRequestError(f"{name} takes {how_many} entries.", param=name)


def _check_token_ids(name: str, token_ids: Iterable[Any]) -> None:
    for token_id in token_ids:
        TOKEN_ID.check(name, token_id)
