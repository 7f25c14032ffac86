"""Keys and values in 8 bits, against transformers with a cache that rounds them the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import DynamicCache, PreTrainedModel

from tests import checkpoints
from tests.engines import answers, engine, request, run
from tests.families import CASES, dense
from tests.near_ties import are_the_same, is_likeliest
from tests.passes import logits
from unisono.core.errors import ConfigError
from unisono.hardware import Facts, QuantizedKV, find_hardware
from unisono.models import load_model

NAMES = [name for name, case in dense.CASES.items() if case.whole]
PROMPTS = checkpoints.prompts(1, 5, 31, 45)


class RoundingCache(DynamicCache):
    """Keys and values are read back in 8 bits, with one scale per token and head."""

    def __init__(self, config: Any, kv_dtype: str) -> None:
        super().__init__(config=config)
        self.kv_dtype = kv_dtype

    def update(self, key: Any, value: Any, *args: Any, **options: Any) -> Any:
        rounded = (self._round(x) for x in (key, value))
        return super().update(*rounded, *args, **options)

    def _round(self, x: torch.Tensor) -> torch.Tensor:
        largest = x.abs().max(dim=-1, keepdim=True).values
        if self.kv_dtype == "int8":
            return torch.round(x * 127 / largest) * largest / 127
        return (x * 448 / largest).to(torch.float8_e4m3fn).to(x.dtype) * largest / 448


def rounded_logits(model: PreTrainedModel, prompt: list[int], kv_dtype: str) -> torch.Tensor:
    cache = RoundingCache(model.config, kv_dtype)
    with torch.no_grad():
        return model(torch.tensor([prompt]), past_key_values=cache, use_cache=True).logits[0]


# What a level that falls on the other side of the middle may move a logit by.
A_LEVEL = 0.02


@pytest.fixture(scope="module", params=NAMES)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    model = checkpoints.oracle(CASES[request.param].model_type, **CASES[request.param].options)
    return model, checkpoints.save(model, tmp_path_factory.mktemp(request.param))


@pytest.mark.parametrize("kv_dtype", ["int8", "fp8"])
def test_logits(case: tuple[Any, Path], kv_dtype: str) -> None:
    model, folder = case
    (prompt,) = checkpoints.prompts(60)
    hardware = find_hardware("cpu")
    loaded = load_model(folder, hardware, dtype="float32")
    ours = logits(loaded, hardware, prompt, kv_dtype)
    theirs = rounded_logits(model, prompt, kv_dtype)
    with torch.no_grad():
        exact = model(torch.tensor([prompt])).logits[0]
    rounding = (exact - theirs).abs().mean()
    assert rounding > 1e-3 * exact.abs().mean()
    # A level at the middle between two may fall on the other side.
    assert (ours - theirs).abs().mean() < 0.05 * rounding


@pytest.mark.parametrize("case", ["llama", "qwen2-window-upper", "gemma3"], indirect=True)
def test_answers_depend_on_no_batch_chunk_cache_or_preemption(case: tuple[Any, Path]) -> None:
    model, folder = case
    whole = engine(folder, kv_dtype="int8", max_num_batched_tokens=256)
    found = answers(whole, PROMPTS)
    for prompt, answer in zip(PROMPTS, found, strict=True):
        rows = rounded_logits(model, prompt + answer[:-1], "int8")[len(prompt) - 1 :]
        assert len(answer) == len(rows) == 24
        assert all(
            is_likeliest(token, row, apart=A_LEVEL) for token, row in zip(answer, rows, strict=True)
        )
    again = run(whole, [request("again", PROMPTS[3])])["again"]
    assert are_the_same(whole, PROMPTS[3:], [again.token_ids], found[3:], apart=A_LEVEL)
    assert again.num_cached_tokens >= 40
    per_block = whole.info.kv_bytes // whole.info.num_blocks
    tight = engine(
        folder,
        kv_dtype="int8",
        kv_memory=per_block * (1 + 20 * len(whole.runner.groups)),
        max_model_len=72,
        max_num_batched_tokens=9,
        prefix_cache=False,
    )
    assert are_the_same(whole, PROMPTS, answers(tight, PROMPTS), found, apart=A_LEVEL)
    if all(group.kind == "full" for group in whole.runner.groups):
        assert tight.stats().num_preemptions > 0


def test_a_block_takes_half_the_bytes_of_16_bits(tmp_path: Path) -> None:
    folder = checkpoints.save(checkpoints.oracle("qwen3", head_dim=128), tmp_path)
    bytes_of = {
        kv_dtype: (each := engine(folder, dtype="bfloat16", kv_dtype=kv_dtype)).info.kv_bytes
        / each.info.num_blocks
        for kv_dtype in ("auto", "int8", "fp8")
    }
    assert bytes_of["int8"] == bytes_of["fp8"] == bytes_of["auto"] * (128 + 4) / 256
    assert engine(folder, kv_dtype="fp8").info.kv_dtype == "float8_e4m3fn"


def test_two_ranks(tmp_path: Path) -> None:
    folder = checkpoints.save(checkpoints.oracle("qwen3", head_dim=32), tmp_path)
    two = engine(folder, kv_dtype="int8", tensor_parallel=2)
    try:
        one = engine(folder, kv_dtype="int8")
        expected = answers(one, PROMPTS)
        assert are_the_same(one, PROMPTS, answers(two, PROMPTS), expected, apart=A_LEVEL)
    finally:
        two.close()


def test_a_device_without_fp8_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = checkpoints.save(checkpoints.oracle("llama"), tmp_path)
    hardware = find_hardware("cpu")
    facts = Facts(name="cpu", device_type="cpu")
    monkeypatch.setattr(type(hardware), "facts", facts)
    with pytest.raises(ConfigError, match=r"float8_e4m3fn.*--kv-dtype int8"):
        engine(folder, kv_dtype="fp8")


def saved(name: str, folder: Path) -> Path:
    case = CASES[name]
    return checkpoints.save(checkpoints.oracle(case.model_type, **case.options), folder)


def test_recurrent_states_stay_as_they_are(tmp_path: Path) -> None:
    """Layers of two kinds share pages, so that blocks of keys and values lie apart."""
    folder = saved("qwen3_next-dense", tmp_path)
    whole = engine(folder, kv_dtype="int8", max_num_batched_tokens=256)
    quantized = [cache for cache in whole.runner.kv if isinstance(cache, QuantizedKV)]
    assert 0 < len(quantized) < len(whole.runner.kv)
    assert not any(cache.levels.is_contiguous() for cache in quantized)
    found = answers(whole, PROMPTS)
    chunked = engine(folder, kv_dtype="int8", max_num_batched_tokens=9, prefix_cache=False)
    assert are_the_same(whole, PROMPTS, answers(chunked, PROMPTS), found, apart=A_LEVEL)


def test_a_model_that_keeps_no_keys_and_values_says_so(tmp_path: Path) -> None:
    folder = saved("minicpm3", tmp_path)
    with pytest.raises(ConfigError, match="MiniCPM3 keeps none"):
        engine(folder, kv_dtype="int8")


@pytest.mark.parametrize("case", ["llama", "qwen2-window-upper"], indirect=True)
def test_the_caches_are_of_8_bits(case: tuple[Any, Path]) -> None:
    _, folder = case
    for cache in engine(folder, kv_dtype="int8").runner.kv:
        assert isinstance(cache, QuantizedKV)
        assert cache.levels.dtype == torch.int8
        assert cache.scales.shape == cache.levels.shape[:-1]
