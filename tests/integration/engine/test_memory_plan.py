"""The memory of a step, counted in advance, against what torch's allocator handed out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from torch.profiler import ProfilerActivity, profile

from tests import checkpoints
from tests.engines import engine, request
from tests.families import CASES
from unisono.core import SamplingParams
from unisono.core.errors import InsufficientMemoryError
from unisono.engine import Engine
from unisono.hardware import MemoryInfo, find_hardware

WIDE: dict[str, Any] = {
    "hidden_size": 128,
    "intermediate_size": 512,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 2,
}
SAMPLED = SamplingParams(temperature=0.8, top_p=0.9, max_tokens=2, ignore_eos=True)
SCORED = SamplingParams(temperature=0.8, max_tokens=1, ignore_eos=True, prompt_logprobs=1)


def peak_bytes(each: Engine, trace: Path) -> int:
    """The most that was handed out at once beside what there was, over all steps."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        while each.has_work:
            each.step()
    profiled.export_chrome_trace(str(trace))
    events = json.loads(trace.read_text())["traceEvents"]
    held = peak = 0
    for event in sorted((e for e in events if e["name"] == "[memory]"), key=lambda e: e["ts"]):
        held += event["args"]["Bytes"]
        peak = max(peak, held)
    return peak


def used(folder: Path, trace: Path, lengths: list[int], **options: Any) -> tuple[int, int]:
    """Bytes predicted, and bytes that prompts of these lengths took."""
    params = options.pop("params", SAMPLED)
    each = engine(
        folder,
        **{
            "block_size": 16,
            "max_num_seqs": 4,
            "prefix_cache": False,
            "max_model_len": max(lengths) + 2,
            **options,
        },
    )
    for i, prompt in enumerate(checkpoints.prompts(*lengths)):
        each.add(request(i, prompt, params))
    return each.info.activation_bytes, peak_bytes(each, trace)


@pytest.mark.parametrize(
    ("shape", "lengths", "options"),
    [
        pytest.param({}, [1024], {}, id="mlp"),
        pytest.param({"intermediate_size": 2048}, [1024], {}, id="wide-mlp"),
        pytest.param(
            {"num_attention_heads": 16, "num_key_value_heads": 16}, [2000], {}, id="context"
        ),
        pytest.param({}, [2000], {"kv_dtype": "int8"}, id="cache-of-8-bits"),
        pytest.param({"sliding_window": 300}, [1000, 24], {}, id="window"),
        pytest.param({"vocab_size": 60_000}, [80] * 4, {"params": SCORED}, id="scores"),
        pytest.param({"vocab_size": 60_000}, [2] * 100, {"max_num_seqs": 100}, id="rows"),
    ],
)
def test_a_step_takes_what_was_predicted_or_a_little_less(
    tmp_path: Path, shape: dict[str, Any], lengths: list[int], options: dict[str, Any]
) -> None:
    kind = "mistral" if "sliding_window" in shape else "llama"
    model = checkpoints.oracle(kind, **{**WIDE, "max_position_embeddings": 2048, **shape})
    folder = checkpoints.save(model, tmp_path)
    predicted, taken = used(
        folder, tmp_path / "trace.json", lengths, **{"max_num_batched_tokens": 1024, **options}
    )
    assert taken <= predicted < 2 * taken


@pytest.mark.parametrize("name", ["qwen3-moe", "minicpm3", "glm-5", "qwen3_next-dense", "gemma2"])
def test_the_prediction_is_an_upper_bound_for_other_networks(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    options = {**case.options, "max_position_embeddings": 1024}
    folder = checkpoints.save(checkpoints.oracle(case.model_type, **options), tmp_path)
    predicted, taken = used(
        folder, tmp_path / "trace.json", [1000], max_num_batched_tokens=1024, block_size=None
    )
    assert taken <= predicted < 4 * taken, (taken, predicted)


def test_what_does_not_fit_is_refused_before_it_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = checkpoints.oracle("llama", **WIDE)
    folder = checkpoints.save(model, tmp_path)
    fitting = engine(folder, max_num_batched_tokens=64)
    info = fitting.info
    free = info.weight_bytes + info.kv_bytes + info.activation_bytes
    cpu = type(find_hardware("cpu"))
    monkeypatch.setattr(cpu, "memory", lambda self: MemoryInfo(free, 2 * free))
    assert engine(folder, max_num_batched_tokens=64).info == info
    (folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(InsufficientMemoryError, match=r"a step up to.*max_num_batched_tokens"):
        engine(folder, max_num_batched_tokens=65)
