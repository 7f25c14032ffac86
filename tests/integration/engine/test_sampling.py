"""Tokens are chosen as the parameters say, and the same everywhere; on real checkpoints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import RepetitionPenaltyLogitsProcessor

from tests import checkpoints
from tests.engines import GREEDY, answers, engine, request, run
from tests.near_ties import check_scores, is_likeliest
from tests.pool_invariants import check_pool
from unisono.core import BatchRow, SamplingParams, derive_seed
from unisono.core.errors import ContextLengthError, InvalidRequestError, QueueFullError
from unisono.engine import Engine
from unisono.engine.sampling.sampler import Sampler
from unisono.hardware import PortableOps
from unisono.hardware.devices.cpu import CpuOps

EOS = 2
# Flat enough that many tokens are likely, peaked enough that few are much more so.
SHAPE = {"initializer_range": 0.12}
SEEDED = SamplingParams(temperature=1.3, top_p=0.95, max_tokens=20, ignore_eos=True)


@pytest.fixture(scope="module")
def model() -> Any:
    return checkpoints.oracle("qwen3", head_dim=16, **SHAPE)


@pytest.fixture(scope="module")
def folder(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoints.save(model, tmp_path_factory.mktemp("qwen3"))


@pytest.fixture
def tiny(folder: Path) -> Engine:
    return engine(folder)


def sampled(engine: Engine, prompt: list[int], seed: int, params: Any = SEEDED) -> list[int]:
    """One answer, alone in the engine."""
    return run(engine, [request("alone", prompt, params, seed=seed)])["alone"].token_ids


# -- one seed, one answer ---------------------------------------------------------------------

PROMPTS = checkpoints.prompts(5, 18, 33, 9, seed=11)


@pytest.fixture(scope="module")
def alone(folder: Path) -> list[list[int]]:
    """The answer of each of PROMPTS to its own seed."""
    single = engine(folder, max_num_seqs=1, prefix_cache=False)
    return [sampled(single, prompt, seed) for seed, prompt in enumerate(PROMPTS)]


def seeded_requests() -> list[Any]:
    return [request(seed, prompt, SEEDED, seed=seed) for seed, prompt in enumerate(PROMPTS)]


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 1, 0, 2], [2, 3, 1, 0]])
@pytest.mark.parametrize(
    "options",
    [{}, {"max_num_batched_tokens": 7, "max_num_seqs": 3}, {"max_num_seqs": 2}],
    ids=["together", "chunked", "two-by-two"],
)
def test_seeded_answers_do_not_depend_on_the_batch(
    folder: Path, alone: list[list[int]], order: list[int], options: dict[str, int]
) -> None:
    requests = seeded_requests()
    others = [request(f"noise-{i}", prompt) for i, prompt in enumerate(PROMPTS)]
    done = run(engine(folder, **options), [*others[:2], *(requests[i] for i in order), *others[2:]])
    assert [done[str(seed)].token_ids for seed in range(len(PROMPTS))] == alone


def test_seeded_answers_survive_preemption(folder: Path, alone: list[list[int]]) -> None:
    info = engine(folder).info
    tight = engine(
        folder, kv_memory=22 * info.kv_bytes // info.num_blocks, max_model_len=56, block_size=4
    )
    done = run(tight, seeded_requests())
    assert [done[str(seed)].token_ids for seed in range(len(PROMPTS))] == alone
    assert tight.stats().num_preemptions > 0


def test_seeded_answers_survive_the_prefix_cache(tiny: Engine, alone: list[list[int]]) -> None:
    for _ in range(2):
        done = run(tiny, seeded_requests())
        assert [done[str(seed)].token_ids for seed in range(len(PROMPTS))] == alone
    assert done["2"].num_cached_tokens == 32


@pytest.mark.parametrize("position", [1, 7, 19])
def test_a_resumed_stream_goes_on_as_it_would_have(
    tiny: Engine, alone: list[list[int]], position: int
) -> None:
    resumed = [
        request(seed, prompt, SEEDED, seed=seed, resumed_token_ids=tuple(alone[seed][:position]))
        for seed, prompt in enumerate(PROMPTS)
    ]
    done = run(tiny, resumed)
    for seed, whole in enumerate(alone):
        assert done[str(seed)].token_ids == whole[position:]
        assert done[str(seed)].finish_reason == "length"


def test_penalties_and_logprobs_resume_too(tiny: Engine) -> None:
    params = replace(SEEDED, frequency_penalty=1.5, repetition_penalty=1.2, logprobs=1)
    whole = run(tiny, [request(0, PROMPTS[0], params, seed=5)])["0"]
    rest = run(
        tiny,
        [request(0, PROMPTS[0], params, seed=5, resumed_token_ids=tuple(whole.token_ids[:8]))],
    )["0"]
    assert rest.token_ids == whole.token_ids[8:]
    assert whole.logprobs is not None
    assert rest.logprobs is not None
    for ours, before in zip(rest.logprobs, whole.logprobs[8:], strict=True):
        assert ours.logprob == pytest.approx(before.logprob, abs=1e-4)


def test_derived_seeds_give_different_answers_that_come_again(tiny: Engine) -> None:
    seeds = [derive_seed(77, index) for index in range(8)]
    requests = [request(i, PROMPTS[1], SEEDED, seed=seed) for i, seed in enumerate(seeds)]
    together = [done.token_ids for done in run(tiny, requests).values()]
    assert len(set(map(tuple, together))) == 8
    assert together == [sampled(tiny, PROMPTS[1], seed) for seed in seeds]
    assert seeds[0] == 77


# -- distributions ----------------------------------------------------------------------------

FILTERS: list[dict[str, Any]] = [
    {},
    {"temperature": 0.5},
    {"temperature": 2.0},
    {"top_k": 1},
    {"top_k": 7},
    {"top_p": 0.3},
    {"top_p": 0.6, "temperature": 0.7},
    {"min_p": 0.25},
    {"top_k": 9, "top_p": 0.8, "min_p": 0.3, "temperature": 0.8},
]


def probabilities(logits: torch.Tensor, params: SamplingParams) -> torch.Tensor:
    """Probability of every token in float64, by definition: temperature, top-k, top-p, min-p."""
    params = params.filled()
    assert params.temperature is not None
    assert params.top_p is not None
    assert params.min_p is not None
    p = (logits.double() / params.temperature).softmax(0)
    order = p.argsort(descending=True)
    if params.top_k:
        p[order[params.top_k :]] = 0.0
        p /= p.sum()
    if params.top_p < 1.0:
        before = p[order].cumsum(0) - p[order]
        p[order[before >= params.top_p]] = 0.0
    p[p < params.min_p * p.max()] = 0.0
    return p / p.sum()


def row(prompt: list[int], params: SamplingParams, seed: int, answer: list[int]) -> BatchRow:
    """The sampler's input when the next token of ``answer`` is due."""
    token_ids = prompt + answer
    return BatchRow(
        request_id=str(seed),
        token_ids=token_ids[-1:],
        start=len(token_ids) - 1,
        block_tables=(),
        num_logits=1,
        params=params.filled(),
        seed=seed,
        num_prompt_tokens=len(prompt),
        all_token_ids=token_ids,
    )


def draws(
    ops: PortableOps, logits: torch.Tensor, params: SamplingParams, count: int
) -> torch.Tensor:
    """The number of times that each token was drawn, by ``count`` seeds."""
    rows = [row(PROMPTS[0], params, seed, []) for seed in range(count)]
    results = Sampler(ops, frozenset())(logits.repeat(count, 1), rows)
    return torch.bincount(
        torch.tensor([t for r in results for t in r.token_ids]), minlength=len(logits)
    )


@pytest.mark.parametrize("ops", [PortableOps(), CpuOps()], ids=["portable", "cpu"])
@pytest.mark.parametrize("options", FILTERS, ids=str)
def test_tokens_follow_the_distribution(
    model: Any, ops: PortableOps, options: dict[str, Any]
) -> None:
    params = SamplingParams(**options)
    logits, count = 2.5 * checkpoints.logprobs(model, PROMPTS[0])[-1], 1000
    expected = count * probabilities(logits, params)
    drawn = draws(ops, logits, params, count)
    assert drawn[expected == 0].sum() == 0
    assert (drawn[expected > 20] > 0).all()
    rare = expected < 5
    cells = [
        ((drawn - expected)[~rare] ** 2 / expected[~rare]).sum(),
        (drawn - expected)[rare].sum() ** 2 / expected[rare].sum().clamp(min=5.0),
    ]
    freedom = int((~rare).sum())
    assert sum(cells) < freedom + 5 * (2 * freedom) ** 0.5


def test_the_engine_draws_what_the_oracles_logits_say(model: Any, tiny: Engine) -> None:
    logits = checkpoints.logprobs(model, PROMPTS[0])[-1]
    params = SamplingParams(max_tokens=1, ignore_eos=True, top_p=0.9)
    requests = [request(seed, PROMPTS[0], params, seed=seed) for seed in range(40)]
    expected = Sampler(PortableOps(), frozenset())(
        logits.repeat(40, 1), [row(PROMPTS[0], params, seed, []) for seed in range(40)]
    )
    done = run(tiny, requests)
    assert [done[str(s)].token_ids for s in range(40)] == [r.token_ids for r in expected]


@pytest.mark.parametrize("temperature", [1e-3, 1e-38, 1e-45, 1e-300])
@pytest.mark.parametrize("filters", [{}, {"top_p": 0.9}, {"top_k": 5}, {"min_p": 0.1}])
def test_the_lowest_temperatures_are_greedy(
    tiny: Engine, temperature: float, filters: dict[str, Any]
) -> None:
    params = replace(GREEDY, temperature=temperature, **filters)
    assert answers(tiny, PROMPTS[:1], params) == answers(tiny, PROMPTS[:1])


# -- penalties and bias -----------------------------------------------------------------------

PENALTIES: list[dict[str, Any]] = [
    {"repetition_penalty": 1.3},
    {"repetition_penalty": 0.7},
    {"presence_penalty": 1.5},
    {"frequency_penalty": 0.8},
    {"frequency_penalty": -0.5, "presence_penalty": 2.0},
    {"repetition_penalty": 1.2, "presence_penalty": 0.5, "frequency_penalty": 0.5},
    {"repetition_penalty": 1.5, "logit_bias": {7: 3.0, 300: 2.5, 44: -4.0}},
]


def by_definition(
    model: Any, prompt: list[int], answer: list[int], params: SamplingParams
) -> torch.Tensor:
    """[V]: the logits behind ``answer``, penalised one token at a time."""
    repetition = RepetitionPenaltyLogitsProcessor(params.repetition_penalty or 1.0)
    token_ids = torch.tensor([prompt + answer])
    with torch.no_grad():
        logits: torch.Tensor = repetition(token_ids, model(token_ids).logits[:, -1])[0]
    for token_id, count in Counter(answer).items():
        logits[token_id] -= params.presence_penalty + params.frequency_penalty * count
    for token_id, bias in params.logit_bias.items():
        logits[token_id] += bias
    return logits


@pytest.mark.parametrize("options", PENALTIES, ids=str)
def test_penalties(model: Any, tiny: Engine, options: dict[str, Any]) -> None:
    params = replace(GREEDY, max_tokens=16, **options)
    ours = answers(tiny, PROMPTS[:2], params)
    for prompt, answer in zip(PROMPTS, ours, strict=False):
        assert len(answer) == 16
        for count, token_id in enumerate(answer):
            assert is_likeliest(token_id, by_definition(model, prompt, answer[:count], params))
    assert ours[0] != answers(tiny, PROMPTS[:1])[0][:16]


def test_penalties_of_one_request_leave_the_others_alone(tiny: Engine) -> None:
    expected = answers(tiny, PROMPTS)
    heavy = replace(GREEDY, repetition_penalty=5.0, frequency_penalty=2.0, logit_bias={5: 90.0})
    mixed = [request(i, prompt) for i, prompt in enumerate(PROMPTS)]
    mixed.insert(1, request("heavy", PROMPTS[0], heavy))
    done = run(tiny, mixed)
    assert [done[str(i)].token_ids for i in range(len(PROMPTS))] == expected


def test_logit_bias_forces_and_forbids(model: Any, tiny: Engine) -> None:
    forced = SamplingParams(max_tokens=4, logit_bias={7: 100.0}, seed=1)
    assert answers(tiny, PROMPTS, forced) == [[7] * 4] * 4
    best = int(checkpoints.logprobs(model, PROMPTS[0])[-1].argmax())
    forbidden = replace(GREEDY, max_tokens=1, logit_bias={best: -100.0})
    (second,) = answers(tiny, PROMPTS[:1], forbidden)[0]
    assert is_likeliest(second, by_definition(model, PROMPTS[0], [], forbidden))


def test_only_allowed_tokens_come(model: Any, tiny: Engine) -> None:
    drawn = SamplingParams(max_tokens=20, temperature=5.0, allowed_token_ids=(5, 9, 11), seed=3)
    (answer,) = answers(tiny, PROMPTS[:1], drawn)
    assert set(answer) == {5, 9, 11}
    logprobs = checkpoints.logprobs(model, PROMPTS[0])[-1]
    likelier = 5 if logprobs[5] > logprobs[9] else 9
    greedy = replace(GREEDY, max_tokens=1, allowed_token_ids=(9, 5))
    assert answers(tiny, PROMPTS[:1], greedy) == [[likelier]]
    tempted = replace(greedy, logit_bias={7: 100.0})
    assert answers(tiny, PROMPTS[:1], tempted) == [[likelier]]


def test_allowed_tokens_that_contradict(tiny: Engine) -> None:
    for wrong in ({"allowed_token_ids": (10**6,)}, {"allowed_token_ids": (EOS,), "min_tokens": 1}):
        with pytest.raises(InvalidRequestError) as caught:
            tiny.add(request("wrong", PROMPTS[0], replace(GREEDY, **wrong)))
        assert caught.value.param == "allowed_token_ids"
    for wrong in ((), tuple(range(20000)), (-1,), ("a",)):
        with pytest.raises(InvalidRequestError):
            SamplingParams(allowed_token_ids=wrong)


# -- where answers end ------------------------------------------------------------------------

ENDS = replace(GREEDY, ignore_eos=False, logit_bias={EOS: 100.0})


def one(engine: Engine, params: SamplingParams, prompt: list[int] = PROMPTS[0]) -> Any:
    return run(engine, [request("one", prompt, params)])["one"]


def test_eos_ends_the_answer_and_belongs_to_it(tiny: Engine) -> None:
    done = one(tiny, ENDS)
    assert (done.token_ids, done.finish_reason, done.stop_token_id) == ([EOS], "stop", EOS)


def test_ignore_eos_goes_on(tiny: Engine) -> None:
    done = one(tiny, replace(ENDS, ignore_eos=True))
    assert (done.token_ids, done.finish_reason) == ([EOS] * 24, "length")
    assert done.stop_token_id is None


@pytest.mark.parametrize("count", [1, 5])
def test_min_tokens_keeps_eos_back(tiny: Engine, count: int) -> None:
    done = one(tiny, replace(ENDS, min_tokens=count))
    assert EOS not in done.token_ids[:-1]
    assert (len(done.token_ids), done.stop_token_id) == (count + 1, EOS)


@pytest.mark.parametrize("ignore_eos", [False, True])
def test_stop_token_ids(tiny: Engine, ignore_eos: bool) -> None:
    stop = replace(ENDS, logit_bias={9: 100.0}, stop_token_ids=(8, 9), ignore_eos=ignore_eos)
    done = one(tiny, stop)
    assert (done.token_ids, done.finish_reason, done.stop_token_id) == ([9], "stop", 9)
    later = one(tiny, replace(stop, min_tokens=3))
    assert not {8, 9} & set(later.token_ids[:-1])
    assert (len(later.token_ids), later.stop_token_id) == (4, 9)


def test_the_generation_configuration_names_the_ends(model: Any, tmp_path: Path) -> None:
    folder = checkpoints.save(model, tmp_path)
    (folder / "generation_config.json").write_text('{"eos_token_id": [11, 12]}')
    several = engine(folder)
    assert one(several, replace(ENDS, logit_bias={12: 100.0})).stop_token_id == 12
    assert one(several, ENDS).finish_reason == "length"


def test_no_tokens_but_scores_of_the_prompt(tiny: Engine) -> None:
    done = one(tiny, SamplingParams(max_tokens=0, prompt_logprobs=2))
    assert (done.token_ids, done.finish_reason) == ([], "length")
    assert len(done.prompt_logprobs) == len(PROMPTS[0])
    assert one(tiny, SamplingParams(max_tokens=0)).prompt_logprobs is None


@pytest.mark.parametrize("length", [1, 5, 47])
def test_no_limit_is_the_context(folder: Path, length: int) -> None:
    short = engine(folder, max_model_len=48)
    (prompt,) = checkpoints.prompts(length, seed=6)
    done = one(short, replace(GREEDY, max_tokens=None), prompt)
    assert (len(done.token_ids), done.finish_reason) == (48 - length, "length")


# -- log-probabilities ------------------------------------------------------------------------


def test_logprobs_are_the_models_whatever_the_parameters(model: Any, tiny: Engine) -> None:
    params = replace(SEEDED, temperature=3.0, repetition_penalty=1.4, top_k=50, logprobs=3)
    done = run(tiny, [request(0, PROMPTS[0], params, seed=9)])["0"]
    expected = checkpoints.logprobs(model, PROMPTS[0] + done.token_ids)[len(PROMPTS[0]) - 1 :]
    assert done.logprobs is not None
    assert len(done.logprobs) == len(done.token_ids) == 20
    for token_id, entry, line in zip(done.token_ids, done.logprobs, expected, strict=False):
        check_scores(entry, token_id, line)
        assert len(entry.top) == 3
    assert max(entry.rank for entry in done.logprobs) > 3


def test_no_likeliest_tokens_are_given_unless_asked_for(tiny: Engine) -> None:
    done = one(tiny, replace(GREEDY, logprobs=0, prompt_logprobs=0))
    assert {entry.top for entry in done.logprobs + done.prompt_logprobs[1:]} == {()}
    assert one(tiny, GREEDY).logprobs == []


def test_as_many_likeliest_tokens_as_there_may_be(tiny: Engine) -> None:
    done = one(tiny, replace(GREEDY, max_tokens=2, logprobs=100, prompt_logprobs=100))
    for entry in done.logprobs + done.prompt_logprobs[1:]:
        values = [value for _, value in entry.top]
        assert len(set(entry.top)) == 100
        assert values == sorted(values, reverse=True)


# -- one request fails, the others do not -----------------------------------------------------

POISON = 13
MATES = [[t if t != POISON else 14 for t in prompt] for prompt in PROMPTS]
CULPRIT = [*MATES[1][:12], POISON, 20, 21]


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint in which one token id turns everything behind it into NaN."""
    model = checkpoints.oracle("qwen3", head_dim=16, **SHAPE)
    with torch.no_grad():
        model.model.embed_tokens.weight[POISON] = float("nan")
        model.lm_head.weight[POISON] = 0.0
    return checkpoints.save(model, tmp_path_factory.mktemp("poisoned"))


def is_free(engine: Engine) -> bool:
    check_pool(engine.scheduler.kv.pool)
    return engine.stats().num_free_blocks == engine.info.num_blocks - 1


@pytest.mark.parametrize(
    "params",
    [GREEDY, SEEDED, replace(SEEDED, top_k=5, logprobs=2)],
    ids=["greedy", "seeded", "top-k"],
)
@pytest.mark.parametrize("options", [{}, {"max_num_batched_tokens": 8}], ids=["whole", "chunked"])
def test_logits_that_are_not_finite_fail_their_request_alone(
    poisoned: Path, caplog: pytest.LogCaptureFixture, params: SamplingParams, options: Any
) -> None:
    requests = [request(i, prompt, params, seed=i) for i, prompt in enumerate(MATES)]
    expected = run(engine(poisoned, **options), requests)
    batch = engine(poisoned, **options)
    done = run(batch, [requests[0], request("bad", CULPRIT, params), *requests[1:]])
    assert done["bad"].finish_reason == "error"
    assert "not finite" in (done["bad"].error or "")
    for one in requests:
        assert POISON not in expected[one.id].token_ids
        assert done[one.id].token_ids == expected[one.id].token_ids
        assert done[one.id].finish_reason == "length"
    assert is_free(batch)
    assert "failed" not in caplog.text
    again = run(batch, requests)
    assert [done.token_ids for done in again.values()] == [e.token_ids for e in expected.values()]


def test_an_answer_that_stops_being_finite_keeps_what_it_has(poisoned: Path) -> None:
    done = one(engine(poisoned), replace(GREEDY, logit_bias={POISON: 100.0}), MATES[0])
    assert (done.token_ids, done.finish_reason) == ([POISON], "error")


def test_a_prefix_that_was_computed_beside_nan_is_computed_anew(poisoned: Path) -> None:
    expected = answers(engine(poisoned), MATES)
    shared = engine(poisoned)
    assert one(shared, SamplingParams(max_tokens=0), CULPRIT).finish_reason == "length"
    for _ in range(2):
        assert answers(shared, MATES) == expected
    assert shared.stats().prefix_hit_tokens > 12
    assert is_free(shared)


def test_scores_that_are_not_finite_are_not_given(poisoned: Path) -> None:
    done = one(engine(poisoned), SamplingParams(max_tokens=0, prompt_logprobs=1), CULPRIT)
    assert (done.finish_reason, done.prompt_logprobs) == ("error", None)


def test_penalties_beyond_float32_fail_their_request_alone(tiny: Engine) -> None:
    expected = answers(tiny, PROMPTS[:1])[0]
    absurd = SamplingParams(max_tokens=9, repetition_penalty=1e-45, top_p=0.9)
    done = run(tiny, [request("absurd", PROMPTS[0], absurd), request("fine", PROMPTS[0])])
    assert done["absurd"].finish_reason == "error"
    assert done["fine"].token_ids == expected


def refuse(engine: Engine, monkeypatch: pytest.MonkeyPatch, token_id: int) -> None:
    """Let every step that computes ``token_id`` raise, as a driver does."""
    original: Callable[..., Any] = engine.runner.run

    def run(batch: Any) -> Any:
        results = original(batch)
        if any(token_id in row.token_ids for row in batch.rows):
            raise RuntimeError("the device is lost")
        return results

    monkeypatch.setattr(engine.runner, "run", run)


@pytest.mark.parametrize("options", [{}, {"max_num_batched_tokens": 8}], ids=["whole", "chunked"])
def test_a_step_that_raises_fails_the_culprits_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch, options: Any
) -> None:
    expected = answers(engine(folder), MATES)
    assert not any(POISON in answer for answer in expected)
    batch = engine(folder, **options)
    refuse(batch, monkeypatch, POISON)
    mates = [request(i, prompt) for i, prompt in enumerate(MATES)]
    late = request("late", MATES[3], replace(GREEDY, logit_bias={POISON: 100.0}))
    done = run(batch, [*mates[:2], request("bad", CULPRIT), late, *mates[2:]])
    assert [done[str(i)].token_ids for i in range(len(MATES))] == expected
    assert done["bad"].error == done["late"].error == "RuntimeError: the device is lost"
    assert (done["bad"].token_ids, done["late"].token_ids) == ([], [POISON])
    assert is_free(batch)
    assert answers(batch, MATES) == expected


def test_an_interrupted_step_leaves_nothing_that_a_later_request_could_share(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = answers(engine(folder), PROMPTS)
    batch = engine(folder)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    for i, prompt in enumerate(PROMPTS):
        batch.add(request(i, prompt))
    with monkeypatch.context() as patch:
        patch.setattr(batch.runner.model, "forward", interrupt)
        with pytest.raises(KeyboardInterrupt):
            batch.step()
    for i in range(len(PROMPTS)):
        batch.abort(str(i))
    assert is_free(batch)
    assert answers(batch, PROMPTS) == expected
    assert batch.stats().prefix_hit_tokens == 0


# -- requests that are refused or taken back --------------------------------------------------


def test_abort_midway(tiny: Engine) -> None:
    expected = answers(tiny, PROMPTS)
    for i, prompt in enumerate(PROMPTS):
        tiny.add(request(i, prompt))
    tokens: dict[str, list[int]] = {str(i): [] for i in range(len(PROMPTS))}
    for step in range(100):
        for output in tiny.step():
            tokens[output.request_id] += output.token_ids
        if step == 5:
            tiny.abort("1")
            tiny.abort("nobody")
    assert [tokens[i] for i in ("0", "2", "3")] == [expected[i] for i in (0, 2, 3)]
    assert tokens["1"] == expected[1][: len(tokens["1"])]
    assert 0 < len(tokens["1"]) < 24
    assert is_free(tiny)
    assert not tiny.has_work


def test_an_id_in_flight_is_not_taken_twice(tiny: Engine) -> None:
    tiny.add(request("same", PROMPTS[0]))
    with pytest.raises(InvalidRequestError, match="'same' is in flight"):
        tiny.add(request("same", PROMPTS[1]))
    while tiny.has_work:
        outputs = tiny.step()
    assert outputs[0].finish_reason == "length"
    assert one(tiny, GREEDY).finish_reason == "length"


LAST = checkpoints.VOCAB_SIZE - 1


@pytest.mark.parametrize("token_id", [-1, LAST + 1, 2**62])
def test_token_ids_outside_the_vocabulary(tiny: Engine, token_id: int) -> None:
    for fields in (
        {"prompt": [5, token_id, 6]},
        {"prompt": [5], "resumed_token_ids": (token_id,)},
    ):
        with pytest.raises(InvalidRequestError, match="vocabulary of 512") as caught:
            tiny.add(request(0, **fields))
        assert caught.value.param == "prompt"
    assert not tiny.has_work
    assert one(tiny, GREEDY, [0, LAST]).finish_reason == "length"


@pytest.mark.parametrize(
    ("param", "options"),
    [
        ("stop_token_ids", {"stop_token_ids": (3, LAST + 1)}),
        ("logit_bias", {"logit_bias": {600: 1}}),
    ],
)
def test_parameters_outside_the_vocabulary(tiny: Engine, param: str, options: Any) -> None:
    with pytest.raises(InvalidRequestError, match="vocabulary of 512") as caught:
        tiny.add(request(0, PROMPTS[0], SamplingParams(**options)))
    assert caught.value.param == param


def test_an_empty_prompt(tiny: Engine) -> None:
    with pytest.raises(InvalidRequestError, match="empty"):
        tiny.add(request(0, []))


def test_a_prompt_that_does_not_fit_the_context(folder: Path) -> None:
    short = engine(folder, max_model_len=32)
    for length, max_tokens, match in (
        (33, 0, r"maximum context length is 32 tokens.* has 33"),
        (32, 1, r"maximum context length is 32 tokens.* has 32"),
        (32, None, r"maximum context length is 32 tokens.* has 32"),
        (20, 13, r"length is 32 tokens.* 20 and max_tokens=13 exceed it. Ask for at most 12"),
    ):
        with pytest.raises(ContextLengthError, match=match):
            short.add(request(0, range(3, 3 + length), replace(GREEDY, max_tokens=max_tokens)))
    assert one(short, replace(GREEDY, max_tokens=0), list(range(3, 35))).finish_reason == "length"


def test_a_resumed_answer_that_is_whole_already(tiny: Engine) -> None:
    with pytest.raises(InvalidRequestError, match="as long as max_tokens"):
        tiny.add(request(0, PROMPTS[0], GREEDY, resumed_token_ids=tuple(range(3, 27))))


def test_a_full_queue_says_when_to_come_again(folder: Path) -> None:
    busy = engine(folder, max_queue=2, max_num_seqs=1)
    busy.add(request("runs", PROMPTS[0]))
    busy.step()
    for i in range(2):
        busy.add(request(i, PROMPTS[1]))
    with pytest.raises(QueueFullError, match="2 requests wait") as caught:
        busy.add(request("late", PROMPTS[2]))
    assert caught.value.retry_after_s >= 1
    while busy.has_work:
        busy.step()
    assert one(busy, GREEDY).finish_reason == "length"


# -- several at once --------------------------------------------------------------------------


def test_two_engines_in_one_process(folder: Path, tmp_path: Path) -> None:
    other = checkpoints.save(checkpoints.oracle("mistral", seed=4, sliding_window=6), tmp_path)
    expected = [answers(engine(each), PROMPTS) for each in (folder, other)]
    both = [engine(folder), engine(other)]
    tokens: list[list[list[int]]] = [[[] for _ in PROMPTS] for _ in both]
    for each in both:
        for i, prompt in enumerate(PROMPTS):
            each.add(request(i, prompt))
    while any(each.has_work for each in both):
        for each, mine in zip(both, tokens, strict=True):
            for output in each.step():
                mine[int(output.request_id)] += output.token_ids
    assert tokens == expected


def test_urgent_requests_come_first_and_change_nothing(folder: Path) -> None:
    expected = answers(engine(folder), PROMPTS)
    single = engine(folder, max_num_seqs=1)
    single.add(request(0, PROMPTS[0], priority=5))
    finished: list[str] = []
    tokens: dict[str, list[int]] = {str(i): [] for i in range(len(PROMPTS))}
    for step in range(150):
        if step == 6:
            for i, priority in ((1, 9), (2, 0), (3, 7)):
                single.add(request(i, PROMPTS[i], priority=priority))
        for output in single.step():
            tokens[output.request_id] += output.token_ids
            if output.finish_reason:
                finished.append(output.request_id)
    assert finished == ["2", "0", "3", "1"]
    assert [tokens[str(i)] for i in range(len(PROMPTS))] == expected
