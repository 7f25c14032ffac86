"""Sampling parameters: every value that is out of range is refused by its name."""

from __future__ import annotations

import contextlib
import dataclasses
from dataclasses import replace
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unisono.core import MAX_LOGPROBS, NEUTRAL, Request, SamplingDefaults, SamplingParams
from unisono.core.errors import InvalidRequestError
from unisono.core.sampling_limits import LIMITS

NAN, INF = float("nan"), float("inf")


def test_defaults_are_plain_sampling() -> None:
    params = SamplingParams().filled()
    assert (params.temperature, params.top_p, params.top_k, params.min_p) == (1.0, 1.0, 0, 0.0)
    assert params.repetition_penalty == 1.0
    assert not params.greedy
    assert not params.has_penalties


def test_it_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        SamplingParams().n = 2  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_tokens", 0),
        ("max_tokens", None),
        ("temperature", 0),
        ("temperature", None),
        ("temperature", 100.0),
        ("top_p", 1),
        ("top_p", 1e-9),
        ("min_p", 0.0),
        ("min_p", 1.0),
        ("repetition_penalty", 0.01),
        ("presence_penalty", -2.0),
        ("frequency_penalty", 2.0),
        ("n", 128),
        ("seed", -(2**63)),
        ("seed", 2**63 - 1),
        ("logprobs", 0),
        ("prompt_logprobs", MAX_LOGPROBS),
        ("logit_bias", {5: -100, 6: 100.0}),
        ("stop", ("x" * 1024,)),
        ("stop", ("x",) * 64),
        ("stop_token_ids", (0,)),
    ],
)
def test_values_at_the_edge_are_taken(name: str, value: Any) -> None:
    assert getattr(SamplingParams(**{name: value}), name) == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_tokens", -1),
        ("max_tokens", 1.0),
        ("max_tokens", True),
        ("min_tokens", -1),
        ("temperature", -0.1),
        ("temperature", 100.1),
        ("temperature", NAN),
        ("temperature", INF),
        ("temperature", "1"),
        ("temperature", 10**400),
        ("top_k", -1),
        ("top_p", 0.0),
        ("top_p", 1.01),
        ("min_p", -0.01),
        ("min_p", 1.01),
        ("repetition_penalty", 0.0),
        ("presence_penalty", 2.1),
        ("frequency_penalty", -2.1),
        ("n", 0),
        ("n", 129),
        ("seed", 2**63),
        ("seed", -(2**63) - 1),
        ("seed", 1.5),
        ("logprobs", -1),
        ("logprobs", MAX_LOGPROBS + 1),
        ("prompt_logprobs", True),
        ("stop", ""),
        ("stop", ("",)),
        ("stop", (5,)),
        ("stop", ("x" * 1025,)),
        ("stop", ("x",) * 65),
        ("stop_token_ids", (-1,)),
        ("stop_token_ids", (1.0,)),
        ("stop_token_ids", tuple(range(65))),
        ("logit_bias", {-1: 0.0}),
        ("logit_bias", {"5": 0.0}),
        ("logit_bias", {5: 100.1}),
        ("logit_bias", {5: NAN}),
        ("logit_bias", dict.fromkeys(range(1025), 0.0)),
    ],
)
def test_values_out_of_range_are_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(InvalidRequestError, match=name) as caught:
        SamplingParams(**{name: value})
    assert caught.value.param == name


def test_every_number_has_a_limit() -> None:
    hints = get_type_hints(SamplingParams)
    numbers = {name for name in hints if {int, float} & {hints[name], *get_args(hints[name])}}
    lists = {"allowed_token_ids", "logit_bias", "stop_token_ids"}
    assert set(LIMITS) == numbers - lists


def test_min_tokens_are_at_most_max_tokens() -> None:
    assert SamplingParams(min_tokens=4, max_tokens=4).min_tokens == 4
    assert SamplingParams(min_tokens=10**6, max_tokens=None).min_tokens == 10**6
    with pytest.raises(InvalidRequestError) as caught:
        SamplingParams(min_tokens=5, max_tokens=4)
    assert caught.value.param == "min_tokens"


def test_lists_become_tuples_and_copies() -> None:
    bias = {1: 2.0}
    params = SamplingParams(stop="end", stop_token_ids=[1, 2], logit_bias=bias)  # type: ignore[arg-type]
    bias.clear()
    assert params.stop == ("end",)
    assert params.stop_token_ids == (1, 2)
    assert params.logit_bias == {1: 2.0}
    assert SamplingParams(stop=None, logit_bias=None, stop_token_ids=None) == SamplingParams()  # type: ignore[arg-type]


def test_derived_flags() -> None:
    assert SamplingParams(temperature=0).greedy
    for penalty in ({"repetition_penalty": 1.1}, {"presence_penalty": -1.0}):
        assert SamplingParams(**penalty).has_penalties
    assert SamplingParams(frequency_penalty=0.5).has_penalties


ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3), st.just(10**400)
)
LISTS = ("stop", "stop_token_ids", "logit_bias", "allowed_token_ids")
SCALARS = [field.name for field in dataclasses.fields(SamplingParams) if field.name not in LISTS]


@given(name=st.sampled_from(LISTS), value=ANYTHING)
def test_a_list_is_a_list(name: str, value: Any) -> None:
    if value is None or (name == "stop" and isinstance(value, str) and value):
        assert isinstance(SamplingParams(**{name: value}), SamplingParams)
        return
    with pytest.raises(InvalidRequestError, match=name) as caught:
        SamplingParams(**{name: value})
    assert caught.value.param == name


@given(name=st.sampled_from(SCALARS), value=ANYTHING)
def test_whatever_is_given_is_taken_or_refused_and_nothing_else(name: str, value: Any) -> None:
    with contextlib.suppress(InvalidRequestError):
        assert getattr(SamplingParams(**{name: value}), name) == value


# -- what is not said ---------------------------------------------------------------------------


def test_what_a_request_says_wins_over_what_a_model_recommends() -> None:
    model = SamplingDefaults(temperature=0.6, top_p=0.9, repetition_penalty=1.1)
    params = SamplingParams(temperature=0, top_k=5, max_tokens=7).filled(model)
    assert params.chosen() == replace(model, temperature=0, top_k=5)
    assert params.greedy
    assert (params.max_tokens, params.filled().min_p) == (7, 0.0)
    assert SamplingParams().filled(model).filled().chosen() == replace(NEUTRAL, **model.said())


def test_filling_leaves_everything_else_alone() -> None:
    params = SamplingParams(stop=("x",), n=3, seed=4, logit_bias={5: 1.0}, presence_penalty=1.0)
    filled = params.filled()
    assert filled.filled(SamplingDefaults(temperature=0.1)) is filled
    assert replace(filled, **dict.fromkeys(NEUTRAL.said())) == params


def test_a_request_has_no_open_parameters() -> None:
    request = Request(id="a", prompt_token_ids=(1,), params=SamplingParams(top_k=3))
    assert request.params.chosen() == replace(NEUTRAL, top_k=3)


def test_defaults_that_say_no_temperature_are_completed() -> None:
    fallback = SamplingDefaults(temperature=0.7, top_p=0.95)
    assert SamplingDefaults().or_else(fallback) == fallback
    assert SamplingDefaults(top_p=0.8).or_else(fallback) == replace(fallback, top_p=0.8)
    whole = SamplingDefaults(temperature=0.0)
    assert whole.or_else(fallback) == whole


@pytest.mark.parametrize(
    ("name", "value"),
    [("temperature", NAN), ("top_k", 1.5), ("top_p", 0), ("min_p", "a"), ("top_k", -1)],
)
def test_defaults_are_checked_like_parameters(name: str, value: Any) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        SamplingDefaults(**{name: value})
    assert caught.value.param == name
