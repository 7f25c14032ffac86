"""States that are updated in place: steps that fail, beginnings shared in a step, block sizes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tests import checkpoints
from tests.checkpoints import check_greedy
from tests.engines import answers, engine, request, run
from tests.families import CASES
from unisono.core import Batch
from unisono.core.errors import CheckpointError, InsufficientMemoryError, UnsupportedModelError
from unisono.engine import Engine
from unisono.engine.pages import natural_block_size
from unisono.hardware import find_hardware
from unisono.models import load_model
from unisono.models.families.qwen3_next import Qwen35
from unisono.models.raw_config import RawConfig


@pytest.fixture(scope="module")
def model_and_folder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    case = CASES["qwen3_next-dense"]
    model = checkpoints.oracle(case.model_type, **case.options)
    return model, checkpoints.save(model, tmp_path_factory.mktemp("state"))


def failing_behind(engine: Engine, fails: Callable[[int, Batch], bool]) -> Engine:
    """Steps that ``fails`` (number of the step, batch) carry out all their work, and raise."""
    run_step, count = engine.runner.run, iter(range(10_000))

    def step(batch: Batch) -> Any:
        results = run_step(batch)
        if fails(next(count), batch):
            raise RuntimeError("behind the forward pass")
        return results

    engine.runner.run = step  # type: ignore[method-assign]
    return engine


@pytest.mark.parametrize("failing", [0, 1, 2, 9])
def test_a_step_that_failed_is_not_felt_by_those_who_come_through(
    model_and_folder: tuple[Any, Path], failing: int
) -> None:
    model, folder = model_and_folder
    prompts = checkpoints.prompts(9, 14, 30, seed=6)
    shaky = failing_behind(
        engine(folder, max_num_batched_tokens=16),
        lambda number, batch: number == failing and len(batch.rows) > 1,
    )
    check_greedy(model, prompts, answers(shaky, prompts))


def test_the_request_at_fault_fails_alone(model_and_folder: tuple[Any, Path]) -> None:
    model, folder = model_and_folder
    prompts = checkpoints.prompts(9, 14, 30, seed=7)
    shaky = failing_behind(
        engine(folder),
        lambda _, batch: any(row.request_id == "1" and row.end > 20 for row in batch.rows),
    )
    done = run(shaky, [request(i, prompt) for i, prompt in enumerate(prompts)])
    assert done["1"].finish_reason == "error"
    for i in (0, 2):
        check_greedy(model, [prompts[i]], [done[str(i)].token_ids])
    further = prompts[1] + done["1"].token_ids[:3]
    again = run(shaky, [request("again", further)])
    check_greedy(model, [further], [again["again"].token_ids])


def test_requests_of_one_step_share_a_beginning(model_and_folder: tuple[Any, Path]) -> None:
    model, folder = model_and_folder
    beginning, *ends = checkpoints.prompts(18, 3, 5, 1, seed=8)
    prompts = [beginning + end for end in ends]
    done = run(engine(folder), [request(i, prompt) for i, prompt in enumerate(prompts)])
    check_greedy(model, prompts, [done[str(i)].token_ids for i in range(3)])
    assert [done[str(i)].num_cached_tokens for i in range(3)] == [0, 16, 16]


def test_blocks_are_as_large_as_states_where_nothing_else_is_said(
    model_and_folder: tuple[Any, Path],
) -> None:
    model, folder = model_and_folder
    own = engine(folder, block_size=None)
    pages, info = own.runner.pages, own.info
    assert info.block_size == natural_block_size(pages.layers, 32) == 32
    assert "Blocks of" not in info.note
    assert "Blocks of 4 tokens fill 12% of a KV page" in engine(folder).info.note
    prompts = checkpoints.prompts(40, 90, seed=9)
    check_greedy(model, prompts, answers(own, prompts))
    again = run(own, [request("again", prompts[1])])["again"]
    check_greedy(model, prompts[1:], [again.token_ids])
    assert again.num_cached_tokens == 64


def test_the_least_memory_that_is_asked_for_suffices(model_and_folder: tuple[Any, Path]) -> None:
    _, folder = model_and_folder
    with pytest.raises(InsufficientMemoryError) as refused:
        engine(folder, kv_memory=1000)
    assert refused.value.hint is not None
    kib = int(refused.value.hint.rpartition(" ")[2].removesuffix("KiB."))
    small = engine(folder, kv_memory=kib * 1024)
    assert small.info.max_model_len >= 1
    with pytest.raises(InsufficientMemoryError, match="of KV memory; there are"):
        engine(folder, kv_memory=kib * 1024, max_model_len=200)


def test_checkpoints_as_they_are_published(tmp_path: Path) -> None:
    """All experts of a layer in one tensor, a vision tower, layers that predict further tokens, and
    what concerns the language model in a part of ``config.json`` alone."""
    case = CASES["qwen3_5-moe-multimodal"]
    model = checkpoints.oracle(case.model_type, **case.options)
    folder = checkpoints.save(model, tmp_path / "published")
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert "model.language_model.layers.0.mlp.experts.gate_up_proj" in tensors
    tensors["mtp.fc.weight"] = torch.zeros(2, 2)
    save_file(tensors, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    config["text_config"].update(dtype="bfloat16", eos_token_id=[5, 6], mtp_num_hidden_layers=1)
    (folder / "config.json").write_text(
        json.dumps({k: v for k, v in config.items() if k not in ("dtype", "eos_token_id")})
    )
    (folder / "generation_config.json").unlink(missing_ok=True)
    loaded = load_model(folder, find_hardware("cpu"))
    assert (loaded.dtype, loaded.eos_token_ids) == (torch.bfloat16, {5, 6})
    (prompt,) = checkpoints.prompts(20)
    check_greedy(model, [prompt], answers(engine(folder), [prompt]))


@pytest.mark.parametrize(
    "option",
    [
        {"hidden_act": "gelu"},
        {"attn_output_gate": False},
        {"mamba_ssm_dtype": "bfloat16"},
        {"layer_types": ["linear_attention", "sliding_attention", "full_attention"]},
    ],
)
def test_what_changes_the_arithmetic_is_refused(option: dict[str, Any]) -> None:
    values = {"num_hidden_layers": 3, "hidden_size": 64, "num_attention_heads": 4, "vocab_size": 9}
    with pytest.raises(UnsupportedModelError, match=next(iter(option))):
        Qwen35.read_config(RawConfig({**values, "intermediate_size": 8, **option}))


def test_value_heads_divide_by_key_heads() -> None:
    values = {"num_hidden_layers": 3, "hidden_size": 64, "num_attention_heads": 4, "vocab_size": 9}
    heads = {"linear_num_value_heads": 6, "linear_num_key_heads": 4}
    with pytest.raises(CheckpointError, match="6 value heads"):
        Qwen35.read_config(RawConfig({**values, "intermediate_size": 8, **heads}))
