"""Every family, with every option that changes its arithmetic, against transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests import checkpoints
from tests.engines import GREEDY, answers, engine, request, run
from unisono.core import SamplingParams
from unisono.engine import Engine
from unisono.hardware import AttentionStep
from unisono.models import StepContext

LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
YARN_ROPE = {
    "rope_type": "yarn",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 64,
}
WINDOWED = {"use_sliding_window": True, "sliding_window": 7}

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "llama-tied": ("llama", {"tie_word_embeddings": True}),
    "llama-biases": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "llama-multi-head": ("llama", {"num_key_value_heads": 4}),
    "llama-one-kv-head": ("llama", {"num_key_value_heads": 1}),
    "llama-head-dim": ("llama", {"head_dim": 24}),
    "llama-theta": ("llama", {"rope_theta": 500000.0}),
    "llama-rope-llama3": ("llama", {"rope_parameters": LLAMA3_ROPE}),
    "llama-rope-linear": (
        "llama",
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}},
    ),
    "llama-rope-yarn": ("llama", {"rope_parameters": YARN_ROPE}),
    "llama-norm-eps": ("llama", {"rms_norm_eps": 0.1}),
    "qwen2": ("qwen2", {}),
    "qwen2-tied": ("qwen2", {"tie_word_embeddings": True}),
    "qwen2-window-upper": ("qwen2", {**WINDOWED, "max_window_layers": 1}),
    "qwen2-window-all": ("qwen2", {**WINDOWED, "max_window_layers": 0}),
    "qwen2-rope-yarn": ("qwen2", {"rope_parameters": YARN_ROPE}),
    "qwen3": ("qwen3", {"head_dim": 32}),
    "qwen3-tied": ("qwen3", {"head_dim": 16, "tie_word_embeddings": True}),
    "qwen3-bias": ("qwen3", {"head_dim": 32, "attention_bias": True}),
    "qwen3-window-upper": ("qwen3", {"head_dim": 16, **WINDOWED, "max_window_layers": 2}),
    "mistral-window": ("mistral", {"sliding_window": 9}),
    "mistral-window-of-block": ("mistral", {"sliding_window": 4}),
    "mistral-no-window": ("mistral", {"sliding_window": None}),
    "mistral-head-dim": ("mistral", {"sliding_window": 8, "head_dim": 32}),
}
LENGTHS = (1, 3, 4, 5, 16, 31, 50)


@pytest.fixture(scope="module", params=CASES)
def case(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Any, Path]:
    family, options = CASES[request.param]
    model = checkpoints.oracle(family, **options)
    return model, checkpoints.save(model, tmp_path_factory.mktemp(request.param))


def forward_logits(engine: Engine, token_ids: list[int]) -> torch.Tensor:
    """All logits of one sequence in one pass, through the engine's own model and cache."""
    runner = engine.runner
    length, size = len(token_ids), runner.block_size
    table = list(range(1, 2 + length // size))
    steps = [
        AttentionStep(
            query_lens=[length],
            context_lens=[length],
            block_tables=[table],
            slots=torch.arange(size, size + length),
            block_size=size,
            window=group.window,
        )
        for group in runner.groups
    ]
    for step in steps:
        step.plan = runner.hardware.ops.plan_attention(step, runner.kv[0])
    attention = [steps[g] for layer in range(len(runner.kv)) for g in [group_of(runner, layer)]]
    with torch.inference_mode():
        context = StepContext(torch.arange(length), runner.kv, attention)
        return runner.model.logits(runner.model(torch.tensor(token_ids), context))


def group_of(runner: Any, layer: int) -> int:
    return next(g for g, group in enumerate(runner.groups) if layer in group.layers)


def test_logits(case: tuple[Any, Path]) -> None:
    model, folder = case
    (prompt,) = checkpoints.prompts(60)
    # Layers of one window share buffers, so each case gets its own engine.
    ours = forward_logits(engine(folder), prompt)
    with torch.no_grad():
        theirs = model(torch.tensor([prompt])).logits[0]
    assert (ours - theirs).abs().max() <= 1e-4 * theirs.abs().max()


def test_greedy_continuation_alone_and_batched(case: tuple[Any, Path]) -> None:
    model, folder = case
    prompts = checkpoints.prompts(*LENGTHS)
    expected = [checkpoints.greedy(model, prompt, 24) for prompt in prompts]
    assert answers(engine(folder, max_num_batched_tokens=256), prompts) == expected
    alone = engine(folder, max_num_seqs=1)
    assert [answers(alone, [prompt])[0] for prompt in prompts] == expected


def test_chunked_is_whole(case: tuple[Any, Path]) -> None:
    model, folder = case
    prompts = checkpoints.prompts(40, 23, seed=1)
    chunked = engine(folder, max_num_batched_tokens=7, max_num_seqs=3)
    assert answers(chunked, prompts) == [checkpoints.greedy(model, p, 24) for p in prompts]


def test_prefix_cached_is_fresh(case: tuple[Any, Path]) -> None:
    model, folder = case
    (prompt,) = checkpoints.prompts(45, seed=2)
    expected = checkpoints.greedy(model, prompt, 24)
    longer = prompt + expected[:10]
    cached = engine(folder)
    assert answers(cached, [prompt]) == [expected]
    again = run(cached, [request("again", prompt), request("longer", longer)])
    assert again["again"].token_ids == expected
    assert again["again"].num_cached_tokens >= 40
    assert again["longer"].token_ids == checkpoints.greedy(model, longer, 24)
    assert again["longer"].num_cached_tokens >= 40


def test_preempted_is_undisturbed(case: tuple[Any, Path]) -> None:
    model, folder = case
    prompts = checkpoints.prompts(20, 21, 22, 23, seed=3)
    probe = engine(folder)
    bytes_per_block = probe.info.kv_bytes // probe.info.num_blocks
    groups = len(probe.runner.groups)
    tight = engine(
        folder, kv_memory=bytes_per_block * (1 + 16 * groups), max_model_len=48, prefix_cache=False
    )
    assert answers(tight, prompts) == [checkpoints.greedy(model, p, 24) for p in prompts]
    if all(group.kind == "full" for group in probe.runner.groups):
        assert tight.stats().num_preemptions > 0


def test_prompt_logprobs(case: tuple[Any, Path]) -> None:
    model, folder = case
    prompts = checkpoints.prompts(33, 12, seed=4)
    params = SamplingParams(max_tokens=0, prompt_logprobs=3)
    small = engine(folder, max_num_batched_tokens=10)
    done = run(small, [request(i, prompt, params) for i, prompt in enumerate(prompts)])
    for i, prompt in enumerate(prompts):
        scored = done[str(i)].prompt_logprobs
        assert scored is not None
        assert len(scored) == len(prompt)
        assert scored[0] is None
        assert done[str(i)].token_ids == []
        expected = checkpoints.logprobs(model, prompt)
        for position in range(1, len(prompt)):
            entry, row = scored[position], expected[position - 1]
            assert entry is not None
            assert entry.token_id == prompt[position]
            assert entry.logprob == pytest.approx(row[prompt[position]].item(), abs=2e-4)
            assert entry.rank == 1 + int((row > row[prompt[position]]).sum())
            top = row.topk(3)
            assert [token_id for token_id, _ in entry.top] == top.indices.tolist()
            assert [value for _, value in entry.top] == pytest.approx(top.values.tolist(), abs=2e-4)


def test_logprobs_of_the_answer(case: tuple[Any, Path]) -> None:
    model, folder = case
    (prompt,) = checkpoints.prompts(9, seed=5)
    params = SamplingParams(temperature=0.0, max_tokens=6, ignore_eos=True, logprobs=2)
    done = run(engine(folder), [request(0, prompt, params)])["0"]
    expected = checkpoints.logprobs(model, prompt + done.token_ids)
    assert done.logprobs is not None
    for k, entry in enumerate(done.logprobs):
        row = expected[len(prompt) + k - 1]
        assert entry.logprob == pytest.approx(row.max().item(), abs=2e-4)
        assert entry.rank == 1
        assert entry.top[0][0] == entry.token_id
    assert GREEDY.logprobs is None
