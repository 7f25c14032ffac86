"""A model with quantised weights is the model whose weights have the quantised values."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from tests.checkpoints import oracle, prompts, save
from tests.engines import answers, engine
from tests.near_ties import are_the_same
from unisono import LLM
from unisono.core import SamplingParams, WeightFormat
from unisono.core.errors import InsufficientMemoryError
from unisono.hardware import MemoryInfo
from unisono.hardware.devices.cpu import CpuHardware
from unisono.hardware.weights.quantized import quantize

PROMPTS = prompts(3, 17, 40)
FORMATS = ["int8", "int8-g32", "int4", "int4-g64", "int4-asym"]


def with_quantized_values(model: PreTrainedModel, format: WeightFormat) -> PreTrainedModel:
    """The linear weights rounded in place; a tied head's rounding does not touch the embedding."""
    head = model.get_output_embeddings()
    model.config.tie_word_embeddings = False
    head.weight = torch.nn.Parameter(head.weight.detach().clone())
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            own = format.of_head if module is head else format
            module.weight.data = quantize(module.weight.data, own).dequantize()
    return model


@pytest.mark.parametrize("text", FORMATS)
@pytest.mark.parametrize("tied", [True, False])
def test_same_tokens_as_the_rounded_checkpoint(text: str, tied: bool, tmp_path: Path) -> None:
    format = WeightFormat.parse(text)
    assert format is not None
    model = oracle("qwen3", tie_word_embeddings=tied)
    plain = save(model, tmp_path / "plain")
    rounded = save(with_quantized_values(model, format), tmp_path / "rounded")
    ours, theirs = engine(plain, weights=text), engine(rounded)
    assert are_the_same(theirs, PROMPTS, answers(ours, PROMPTS), answers(theirs, PROMPTS))


MESSAGE = "My parcel XJ20931 has not arrived, I ordered it on 3 May."


def test_the_demo_model_hardly_changes_its_mind() -> None:
    params = SamplingParams(max_tokens=48, temperature=0.0, prompt_logprobs=0)

    def scored(weights: str) -> tuple[str, torch.Tensor]:
        llm = LLM(dtype="float32", weights=weights, kv_memory=64 << 20)
        (answer,) = llm.generate(MESSAGE, params)
        entries = answer.prompt_logprobs or []
        return answer.text, torch.tensor([entry.logprob for entry in entries if entry])

    exact_text, exact = scored("auto")
    for weights, bound in (("int8", 0.05), ("int4", 0.6)):
        text, ours = scored(weights)
        assert 0.0 < (exact - ours).abs().mean() < bound
        assert weights == "int4" or text == exact_text


def test_what_it_holds_is_said(tmp_path: Path) -> None:
    folder = save(oracle("qwen3", tie_word_embeddings=False), tmp_path / "model")
    whole, held = engine(folder).info, engine(folder, weights="int4").info
    assert (whole.weight_format, held.weight_format) == ("auto", "int4-g32")
    assert held.num_parameters == whole.num_parameters
    assert held.step_weight_bytes < whole.step_weight_bytes / 3
    assert held.weight_bytes < whole.weight_bytes


def test_memory_is_asked_for_as_quantised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save(oracle("qwen3", tie_word_embeddings=False), tmp_path / "model")
    held, whole = engine(folder, weights="int4").info, engine(folder).info
    room = (held.weight_bytes + whole.weight_bytes) // 2 + held.kv_bytes + held.activation_bytes
    monkeypatch.setattr(CpuHardware, "memory", lambda self: MemoryInfo(room, 1 << 40))
    assert engine(folder, weights="int4").info.weight_bytes == held.weight_bytes
    with pytest.raises(InsufficientMemoryError):
        engine(folder)
