"""Vectors and scores of the engine are those of transformers' hidden states, pooled by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from tests import checkpoints
from tests.engines import GREEDY, answers, engine, request, run
from tests.pooled import NO_ANSWER, hidden_states, numbers_in, pooled
from unisono.core.errors import InvalidRequestError
from unisono.core.pooling import Pooling
from unisono.engine import Engine

LAST, MEAN = Pooling(kind="last"), Pooling(kind="mean")
PROMPTS = checkpoints.prompts(5, 23, 1, 150, 64)


@pytest.fixture(scope="module")
def oracle() -> PreTrainedModel:
    return checkpoints.oracle("qwen3", tie_word_embeddings=True)


@pytest.fixture(scope="module")
def folder(oracle: PreTrainedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoints.save(oracle, tmp_path_factory.mktemp("qwen3"))


@pytest.fixture(scope="module")
def embedder(folder: Path) -> Engine:
    return engine(folder, task="embed")


def last(oracle: PreTrainedModel) -> torch.Tensor:
    return torch.stack([hidden_states(oracle, prompt)[-1] for prompt in PROMPTS])


def mean(oracle: PreTrainedModel) -> torch.Tensor:
    return torch.stack([hidden_states(oracle, prompt).mean(0) for prompt in PROMPTS])


def close(found: torch.Tensor, expected: torch.Tensor, atol: float = 2e-4) -> bool:
    return torch.allclose(found, expected, atol=atol, rtol=1e-4)


def test_the_last_token_and_the_mean(oracle: PreTrainedModel, embedder: Engine) -> None:
    assert close(pooled(embedder, PROMPTS, LAST), last(oracle))
    assert close(pooled(embedder, PROMPTS, MEAN), mean(oracle))


def test_vectors_are_cut_and_then_normed(oracle: PreTrainedModel, embedder: Engine) -> None:
    how = Pooling(kind="last", normalize=True, dimensions=7)
    expected = F.normalize(last(oracle)[:, :7], dim=-1)
    assert close(pooled(embedder, PROMPTS, how), expected)


def test_rows_of_one_step_pool_in_their_own_ways(oracle: PreTrainedModel, folder: Path) -> None:
    """Beside rows that generate, which answer as they do alone."""
    both, prompt = engine(folder), PROMPTS[1]
    (alone,) = answers(both, [prompt])
    normed = Pooling(kind="mean", normalize=True)
    tokens = Pooling(kind="tokens", token_ids=(9, 4))
    requests = [request("answer", prompt)] + [
        request(i, prompt, NO_ANSWER, pooling=how) for i, how in enumerate((LAST, tokens, normed))
    ]
    done = run(both, requests)
    hidden = hidden_states(oracle, prompt)
    with torch.no_grad():
        logits = oracle.lm_head(hidden[-1])[[9, 4]]
    assert done["answer"].token_ids == alone
    assert len(alone) == GREEDY.max_tokens
    assert close(torch.tensor(numbers_in(done["0"].pooled)), hidden[-1])
    assert close(torch.tensor(numbers_in(done["1"].pooled)), logits, atol=1e-3)
    assert close(torch.tensor(numbers_in(done["2"].pooled)), F.normalize(hidden.mean(0), dim=-1))


def test_prefixes_that_are_cached_are_taken_over_where_all_is_not_read(
    oracle: PreTrainedModel, folder: Path
) -> None:
    fresh = engine(folder, task="embed")
    for how, expected, hit in ((LAST, last, 148), (MEAN, mean, 0)):
        pooled(fresh, PROMPTS, how)
        before = fresh.stats().prefix_hit_tokens
        assert close(pooled(fresh, PROMPTS, how), expected(oracle))
        assert fresh.stats().prefix_hit_tokens - before == (hit + 20 + 4 + 60 if hit else 0)


def test_a_sequence_that_was_preempted_pools_all_of_it_once(
    oracle: PreTrainedModel, folder: Path
) -> None:
    """Blocks for one of the two, computed in small chunks."""
    prompt = PROMPTS[3]
    small = engine(folder, kv_memory=2**20, max_num_batched_tokens=8, max_model_len=160)
    small.add(request("pooled", prompt, NO_ANSWER, pooling=MEAN))
    for _ in range(15):
        assert not small.step()
    urgent = request("urgent", PROMPTS[4], priority=-1)
    small.add(urgent)
    done = {output.request_id: output for _ in range(99) for output in small.step()}
    assert small.stats().num_preemptions == 1
    assert not small.has_work
    expected = hidden_states(oracle, prompt).mean(0)
    assert close(torch.tensor(numbers_in(done["pooled"].pooled)), expected)


def test_two_ranks_and_int8_weights(oracle: PreTrainedModel, folder: Path) -> None:
    """The scored tokens need the head, of which each rank has a part."""
    tokens = Pooling(kind="tokens", token_ids=(500, 4))
    divided = engine(folder, tensor_parallel=2, task="rerank")
    try:
        assert close(pooled(divided, PROMPTS, MEAN), mean(oracle))
        with torch.no_grad():
            expected = oracle.lm_head(last(oracle))[:, [500, 4]]
        assert close(pooled(divided, PROMPTS, tokens), expected, atol=1e-3)
    finally:
        divided.close()
    rounded = engine(folder, weights="int8", task="embed")
    assert F.cosine_similarity(pooled(rounded, PROMPTS, LAST), last(oracle)).min() > 0.99


@pytest.mark.parametrize("model_type", ["qwen3", "llama"])
def test_a_base_without_a_head(model_type: str, tmp_path: Path) -> None:
    """Names in its files lack ``model.``."""
    oracle = checkpoints.oracle(model_type, tie_word_embeddings=False)
    base: Any = oracle.model
    base.save_pretrained(tmp_path)
    assert not any("lm_head" in name for name in load_file(tmp_path / "model.safetensors"))
    found = engine(tmp_path, task="embed")
    assert not found.info.has_head
    assert close(pooled(found, PROMPTS, LAST), last(oracle))


def test_a_head_that_classifies(tmp_path: Path) -> None:
    config = checkpoints.configuration("qwen2", num_labels=3, pad_token_id=0)
    torch.manual_seed(0)
    oracle = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32).eval()
    oracle.save_pretrained(tmp_path)
    with torch.no_grad():
        expected = torch.cat([oracle(torch.tensor([prompt])).logits for prompt in PROMPTS])
    found = engine(tmp_path, task="rerank")
    assert found.info.num_classes == 3
    assert close(pooled(found, PROMPTS, Pooling(kind="classes")), expected, atol=1e-3)


def test_what_a_model_cannot_give_is_refused(folder: Path, embedder: Engine) -> None:
    refused = [
        (embedder, {}, "does not generate"),
        (embedder, {"pooling": Pooling(kind="tokens", token_ids=(1,))}, "does not generate"),
        (embedder, {"pooling": Pooling(kind="classes")}, "no head that classifies"),
        (embedder, {"pooling": Pooling(dimensions=65)}, "64 numbers, not 65"),
    ]
    for found, fields, reason in refused:
        with pytest.raises(InvalidRequestError, match=reason):
            found.add(request("x", [1, 2], NO_ANSWER, **fields))
    with pytest.raises(InvalidRequestError, match="max_tokens is 0"):
        embedder.add(request("x", [1, 2], GREEDY, pooling=LAST))
    with pytest.raises(InvalidRequestError, match="empty"):
        embedder.add(request("x", [], NO_ANSWER, pooling=LAST))
    assert not embedder.has_work


def test_vectors_that_are_not_finite_fail_alone(folder: Path, tmp_path: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["model.embed_tokens.weight"][7] = torch.inf
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_text(
        json.dumps(json.loads((folder / "config.json").read_text()))
    )
    found = engine(tmp_path, task="embed")
    prompts = {"bad": [3, 7], "good": [3, 8]}
    done = run(found, [request(n, p, NO_ANSWER, pooling=LAST) for n, p in prompts.items()])
    assert "not finite" in str(done["bad"].error)
    assert done["bad"].pooled is None
    assert done["good"].error is None
    assert done["good"].pooled is not None
