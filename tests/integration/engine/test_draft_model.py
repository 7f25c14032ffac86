"""A smaller model drafts: its cache follows the answers, and what it says changes none of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests import checkpoints
from tests.engines import GREEDY, answers, engine, request, run
from tests.families import CASES
from tests.near_ties import are_the_same
from unisono.core import SamplingParams
from unisono.core.errors import CheckpointError, ConfigError
from unisono.engine import Engine
from unisono.engine.drafting.costs import Costs

PROMPTS = checkpoints.prompts(3, 9, 70, 30, seed=6)


def saved(name: str, factory: pytest.TempPathFactory, seed: int = 0, **options: Any) -> Path:
    case = CASES[name]
    model = checkpoints.oracle(case.model_type, seed=seed, **{**case.options, **options})
    return checkpoints.save(model, factory.mktemp(name))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved("qwen3", tmp_path_factory)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved("llama", tmp_path_factory, seed=5)


class Free(Costs):
    """Drafts cost nothing, and no step without them is due."""

    def is_due(self, num_rows: int) -> bool:
        return False

    def times(self, num_rows: int, most: int) -> list[float]:
        return [1.0 + each / 1000 for each in range(most + 1)]


def drafting(folder: Path, small: Path, **options: Any) -> Engine:
    made = engine(folder, speculate=str(small), speculate_tokens=4, **options)
    assert made.scheduler.speculation is not None
    made.scheduler.speculation._costs = Free()
    return made


@pytest.mark.parametrize(
    "options",
    [{}, {"max_num_seqs": 2, "max_num_batched_tokens": 16}, {"kv_memory": 2**18}],
    ids=["together", "queued", "preempted"],
)
def test_who_drafts_for_itself_is_right(folder: Path, options: dict[str, Any]) -> None:
    plain = engine(folder)
    expected = answers(plain, PROMPTS)
    made = drafting(folder, folder, **options)
    for _ in range(2):  # the second time from the prefix cache
        assert are_the_same(plain, PROMPTS, answers(made, PROMPTS), expected)
    stats = made.stats()
    assert stats.accepted_tokens > 4 * max(1, stats.rejected_tokens)
    assert stats.accepted_tokens > 80
    assert stats.num_free_blocks == made.info.num_blocks - 1


def test_sampled_answers_are_drafted_with_their_own_numbers(folder: Path) -> None:
    params = SamplingParams(
        temperature=0.9, top_k=50, max_tokens=24, ignore_eos=True, frequency_penalty=0.3
    )
    made = drafting(folder, folder)
    run(made, [request(i, prompt, params, seed=i) for i, prompt in enumerate(PROMPTS)])
    assert made.stats().accepted_tokens > 4 * max(1, made.stats().rejected_tokens)


def test_another_model_changes_nothing(folder: Path, other: Path) -> None:
    plain = engine(folder)
    made = drafting(folder, other)
    assert are_the_same(plain, PROMPTS, answers(made, PROMPTS), answers(plain, PROMPTS))
    assert made.stats().rejected_tokens
    assert made.stats().num_free_blocks == made.info.num_blocks - 1


def test_a_recurrent_model_with_full_layers_takes_drafts(
    tmp_path_factory: pytest.TempPathFactory, other: Path
) -> None:
    folder = saved("qwen3_next-dense", tmp_path_factory)
    plain = engine(folder)
    made = drafting(folder, other)
    assert are_the_same(plain, PROMPTS, answers(made, PROMPTS), answers(plain, PROMPTS))


def test_a_draft_model_that_fails_drafts_no_more(folder: Path) -> None:
    made = drafting(folder, folder)
    assert made.scheduler.speculation is not None
    drafter: Any = made.scheduler.speculation.drafter
    drafter._runner.model = None
    done = run(made, [request(0, PROMPTS[0], GREEDY)])
    assert done["0"].finish_reason == "length"
    assert not made.stats().accepted_tokens


def test_models_that_cannot_draft(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(ConfigError, match="No drafter and no model is called 'ngrams'"):
        engine(folder, speculate="ngrams")
    with pytest.raises(CheckpointError):
        engine(folder, speculate=str(tmp_path_factory.mktemp("empty")))
    smaller = saved("qwen3", tmp_path_factory, vocab_size=300)
    with pytest.raises(ConfigError, match=r"another vocabulary \(300 tokens\)"):
        engine(folder, speculate=str(smaller))
    with pytest.raises(ConfigError, match="windows or states"):
        engine(folder, speculate=str(saved("gemma3", tmp_path_factory)))
