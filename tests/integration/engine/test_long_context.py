"""A prompt of 131,072 tokens through the engine, and positions as far out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests import checkpoints
from tests.engines import engine, request
from tests.near_ties import is_likeliest
from unisono.core import SamplingParams
from unisono.engine.kv_cache import peak_blocks

LENGTH, WINDOW, CHUNK, BLOCK = 131_072, 64, 2048, 32
SHAPE: dict[str, Any] = {
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "sliding_window": WINDOW,
    "max_position_embeddings": LENGTH + 16,
}


@pytest.mark.parametrize("kv_dtype", ["auto", "int8"])
def test_a_prompt_of_131072_tokens(tmp_path: Path, kv_dtype: str) -> None:
    """A token sees little through two windows: transformers computes that part alone."""
    model = checkpoints.oracle("mistral", **SHAPE)
    folder = checkpoints.save(model, tmp_path)
    each = engine(
        folder, kv_memory=4 << 20, block_size=BLOCK, max_num_batched_tokens=CHUNK, kv_dtype=kv_dtype
    )
    pool = each.scheduler.kv.pool
    assert pool.num_blocks < LENGTH // BLOCK
    assert each.info.max_model_len == LENGTH + 16
    (prompt,) = checkpoints.prompts(LENGTH)
    params = SamplingParams(max_tokens=4, temperature=0.0, ignore_eos=True, logprobs=0)
    each.add(request(0, prompt, params))
    answer: list[int] = []
    logprobs: list[float] = []
    most_held = 0
    while each.has_work:
        for output in each.step():
            answer += output.token_ids
            logprobs += [entry.logprob for entry in output.logprobs or []]
        most_held = max(most_held, pool.num_blocks - 1 - pool.num_free)
    assert most_held <= peak_blocks(each.scheduler.config.groups, BLOCK, LENGTH, CHUNK)
    assert most_held <= (CHUNK + WINDOW) // BLOCK + 2
    assert pool.num_free == pool.num_blocks - 1
    expected = _distributions(model, prompt + answer)
    found = expected[torch.arange(4), torch.tensor(answer)]
    if kv_dtype == "auto":
        assert all(map(is_likeliest, answer, expected))
        assert torch.tensor(logprobs) == pytest.approx(found.tolist(), abs=1e-3)
    else:
        assert (torch.tensor(logprobs) - found).abs().max() < 0.5


def _distributions(model: Any, token_ids: list[int]) -> torch.Tensor:
    """Log-probabilities that the last four tokens had, [4, V], from the end of the text alone."""
    seen = 2 * WINDOW + 8
    positions = torch.arange(len(token_ids) - seen, len(token_ids)).unsqueeze(0)
    with torch.no_grad():
        logits = model(torch.tensor([token_ids[-seen:]]), position_ids=positions).logits
    return logits[0, -5:-1].float().log_softmax(-1)


def test_a_prompt_that_most_layers_see_through_a_window(tmp_path: Path) -> None:
    """Gemma 3's pattern, 3000 tokens in chunks: what windows have left is given back, and answers
    and log-probabilities at the far end are transformers'."""
    kinds = ["sliding_attention"] * 5 + ["full_attention"]
    length, chunk, window = 3000, 256, 128
    model = checkpoints.oracle(
        "gemma3_text",
        num_hidden_layers=6,
        layer_types=kinds,
        head_dim=16,
        sliding_window=window,
        max_position_embeddings=4096,
        rope_parameters={
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
            "full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0},
        },
    )
    folder = checkpoints.save(model, tmp_path)
    each = engine(folder, kv_memory=4 << 20, block_size=16, max_num_batched_tokens=chunk)
    pool, groups = each.scheduler.kv.pool, each.scheduler.config.groups
    (prompt,) = checkpoints.prompts(length)
    params = SamplingParams(max_tokens=8, temperature=0.0, ignore_eos=True, logprobs=0)
    each.add(request(0, prompt, params))
    answer: list[int] = []
    logprobs: list[float] = []
    most_held = 0
    while each.has_work:
        for output in each.step():
            answer += output.token_ids
            logprobs += [entry.logprob for entry in output.logprobs or []]
        most_held = max(most_held, pool.num_blocks - 1 - pool.num_free)
    assert most_held <= peak_blocks(groups, 16, length + 8, chunk)
    assert most_held < 2 * length // 16 < len(groups) * length // 16
    with torch.no_grad():
        logits = model(torch.tensor([prompt + answer])).logits[0, length - 1 : -1]
    expected = logits.log_softmax(-1)
    assert all(map(is_likeliest, answer, expected))
    found = expected[torch.arange(8), torch.tensor(answer)]
    assert torch.tensor(logprobs) == pytest.approx(found.tolist(), abs=1e-3)
