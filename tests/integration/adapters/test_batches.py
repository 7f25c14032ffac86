"""Several adapters in one batch: each row is as alone, and rows without one as ever."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import adapters, checkpoints
from tests.engines import engine, request, run
from unisono.core import Request, SamplingParams
from unisono.core.errors import AdapterError, InvalidRequestError
from unisono.engine import Engine

WITH_LOGPROBS = SamplingParams(temperature=0.0, max_tokens=8, ignore_eos=True, logprobs=0)
RANKS = {"two": 2, "five": 5, "nine": 9}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model's folder, with adapters beside it."""
    root = tmp_path_factory.mktemp("adapted")
    model = checkpoints.oracle("qwen3", head_dim=16, num_hidden_layers=2)
    checkpoints.save(model, root / "model")
    for seed, (name, rank) in enumerate(RANKS.items()):
        modules = adapters.ATTENTION if name == "five" else adapters.DENSE
        adapted = adapters.adapt(model, root / name, seed=seed, r=rank, target_modules=modules)
        model = adapted.unload()
    return root


@pytest.fixture
def served(folder: Path) -> Iterator[Engine]:
    made = engine(folder / "model", max_adapters=3)
    for name in RANKS:
        made.load_adapter(name, folder / name)
    yield made
    made.close()


def asked(names: list[str], length: int = 13) -> list[Request]:
    prompts = checkpoints.prompts(*[length + i for i in range(len(names))])
    return [
        request(f"{i}{name}", prompt, WITH_LOGPROBS, adapter=name)
        for i, (name, prompt) in enumerate(zip(names, prompts, strict=True))
    ]


def test_each_row_as_alone(served: Engine) -> None:
    requests = asked(["two", "", "five", "nine", "", "two"])
    together = run(served, requests)
    for one in requests:
        alone = run(served, [one])[one.id]
        assert alone.token_ids == together[one.id].token_ids
        for ours, other in zip(alone.logprobs or [], together[one.id].logprobs or [], strict=True):
            assert ours.logprob == pytest.approx(other.logprob, abs=1e-4)
    answers = {tuple(run(served, [each])["x"].token_ids) for each in same_prompt(["", *RANKS])}
    assert len(answers) == 4


def same_prompt(names: list[str]) -> list[Request]:
    (prompt,) = checkpoints.prompts(30, seed=5)
    return [request("x", prompt, WITH_LOGPROBS, adapter=name) for name in names]


def test_prefixes_are_not_shared_between_adapters(served: Engine) -> None:
    for each in same_prompt(["", *RANKS]):
        assert run(served, [each])["x"].num_cached_tokens == 0
    for each in same_prompt(["", *RANKS]):
        assert run(served, [each])["x"].num_cached_tokens >= 24


def test_a_name_with_other_weights_shares_no_prefix(served: Engine, folder: Path) -> None:
    (first,), (other,) = same_prompt(["two"]), same_prompt(["nine"])
    before, expected = run(served, [first])["x"], run(served, [other])["x"]
    served.remove_adapter("two")
    served.remove_adapter("nine")
    served.load_adapter("two", folder / "nine")
    after = run(served, [first])["x"]
    assert after.num_cached_tokens == 0
    assert after.token_ids == expected.token_ids != before.token_ids


def test_removed_while_it_answers(served: Engine, folder: Path) -> None:
    (one,) = same_prompt(["five"])
    expected = run(served, [one])["x"].token_ids
    served.add(one)
    answer = [token for _ in range(3) for output in served.step() for token in output.token_ids]
    served.remove_adapter("five")
    with pytest.raises(InvalidRequestError, match="no adapter 'five'"):
        served.add(request("late", [3, 4], adapter="five"))
    with pytest.raises(AdapterError, match="3, 1 of them finishing"):
        served.load_adapter("five", folder / "two")
    while served.has_work:
        answer += [token for output in served.step() for token in output.token_ids]
    assert answer == expected
    served.load_adapter("five", folder / "two")
    (like,) = same_prompt(["two"])
    assert run(served, [one])["x"].token_ids == run(served, [like])["x"].token_ids != expected


def test_aborted_and_removed(served: Engine, folder: Path) -> None:
    (one,) = same_prompt(["five"])
    served.add(one)
    served.step()
    served.remove_adapter("five")
    served.abort("x")
    served.load_adapter("five", folder / "five")


def test_names(served: Engine, folder: Path) -> None:
    with pytest.raises(AdapterError, match="loaded already"):
        served.load_adapter("two", folder / "two")
    with pytest.raises(AdapterError, match="There is no adapter 'six'"):
        served.remove_adapter("six")
    for name in ("", "a b", "../x", "x" * 200):
        with pytest.raises(AdapterError, match="no name"):
            served.load_adapter(name, folder / "two")


def test_without_adapters_again(served: Engine) -> None:
    (plain,) = same_prompt([""])
    before = run(served, [plain])["x"]
    for name in RANKS:
        served.remove_adapter(name)
    after = run(served, [plain])["x"]
    assert after.token_ids == before.token_ids


def test_two_ranks(served: Engine, folder: Path) -> None:
    requests = asked(["two", "", "five", "nine"])
    expected = run(served, requests)
    divided = engine(folder / "model", tensor_parallel=2, max_adapters=3)
    try:
        for name in RANKS:
            divided.load_adapter(name, folder / name)
        divided.remove_adapter("two")
        with pytest.raises(AdapterError, match="has no adapter_config"):
            divided.load_adapter("two", folder)
        divided.load_adapter("two", folder / "two")
        found = run(divided, requests)
    finally:
        divided.close()
    for one in requests:
        pairs = zip(found[one.id].logprobs or [], expected[one.id].logprobs or [], strict=True)
        assert all(ours.logprob == pytest.approx(other.logprob, abs=1e-3) for ours, other in pairs)
