"""Answers under a constraint are the same with drafts, whether it lets them pass or not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import checkpoints
from tests.drafting import with_oracle
from tests.engines import run
from tests.integration.engine.test_constraint_state import make, requests
from tests.lettered import vocabulary
from unisono.core import BatchRow, SamplingParams
from unisono.engine.sampling.constraints import Constraints
from unisono.text.grammar.compiler import GrammarCompiler


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = checkpoints.oracle("qwen3", head_dim=16)
    return checkpoints.save(model, tmp_path_factory.mktemp("qwen3"))


def test_answers_are_those_without_drafts(folder: Path) -> None:
    plain = run(make(folder), requests())
    answers = {key: output.token_ids for key, output in plain.items()}
    for seed in range(2):
        drafted = with_oracle(make(folder), answers, seed)
        done = run(drafted, requests())
        assert {key: output.token_ids for key, output in done.items()} == answers
        assert {output.finish_reason for output in done.values()} == {"stop"}
        assert drafted.stats().accepted_tokens
        assert drafted.stats().rejected_tokens


@pytest.mark.parametrize(
    ("drafts", "expected"), [("ab", 2), ("abc", 3), ("abd", 2), ("da", 0), ("abca", 3), ("", 0)]
)
def test_forbidden_drafts_are_cut_off(drafts: str, expected: int) -> None:
    words = vocabulary()
    constraints = Constraints(GrammarCompiler(lambda: words, 512, frozenset({2})), 512)
    letters = [words.tokens.index(letter.encode()) for letter in drafts]
    prompt = [1, words.tokens.index(b"a")]
    row = BatchRow(
        request_id="a",
        token_ids=prompt[-1:],
        start=1,
        block_tables=[[]],
        num_logits=1,
        params=SamplingParams(regex="aabc"),
        seed=0,
        num_prompt_tokens=1,
        all_token_ids=prompt,
    )
    for _ in range(2):  # the state of the answer is where it was
        assert constraints.num_allowed(row, letters) == expected
    constraints.close()
