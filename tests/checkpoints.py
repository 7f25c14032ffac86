"""Tiny random checkpoints, made with transformers: the oracle's own files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    PreTrainedModel,
)

from tests.near_ties import is_likeliest, num_equal

VOCAB_SIZE = 512

_SHAPE: dict[str, Any] = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 96,
    "max_position_embeddings": 256,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": None,
    # Large enough that logits differ clearly and a wrong term cannot hide.
    "initializer_range": 0.3,
}


def configuration(model_type: str, **options: Any) -> Any:
    """Configuration of a tiny model."""
    if "text_config" in options:
        options["text_config"] = {**_SHAPE, **options["text_config"]}
    return AutoConfig.for_model(model_type, **{**_SHAPE, **options})


def oracle(model_type: str, *, seed: int = 0, **options: Any) -> PreTrainedModel:
    """A random float32 model, by transformers' name of its kind; every weight, biases and norms
    too, is random."""
    torch.manual_seed(seed)
    auto: Any = AutoModelForCausalLM
    if "text_config" in options:
        auto = AutoModelForImageTextToText
    config = configuration(model_type, **options)
    model = auto.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.add_(torch.empty_like(parameter).uniform_(-0.5, 0.5))
            elif name.endswith(("bias", "sinks")):
                parameter.normal_(std=0.3)
            elif name.endswith(("router.scale", "per_expert_scale")):
                parameter.uniform_(0.5, 1.5)
        for name, buffer in model.named_buffers():
            if name.endswith("layer_scalar"):
                buffer.uniform_(0.7, 1.3)
            if name.endswith("e_score_correction_bias"):
                buffer.normal_(std=0.2)
    return model


def save(model: PreTrainedModel, folder: Path, **options: Any) -> Path:
    """Write a checkpoint folder without a tokenizer."""
    model.save_pretrained(folder, **options)
    return folder


def prompts(*lengths: int, seed: int = 0) -> list[list[int]]:
    """Random token ids, none of them special."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(3, VOCAB_SIZE, (n,), generator=generator).tolist() for n in lengths]


def continues(model: PreTrainedModel, prompt: list[int], answer: list[int]) -> bool:
    """True where the oracle's greedy continuation is this answer, up to a near tie."""
    with torch.no_grad():
        done = model.generate(
            torch.tensor([prompt]),
            max_new_tokens=len(answer),
            do_sample=False,
            eos_token_id=None,
            output_logits=True,
            return_dict_in_generate=True,
        )
    count = num_equal(done.sequences[0, len(prompt) :].tolist(), answer)
    return count == len(answer) or is_likeliest(answer[count], done.logits[count][0])


def is_greedy(model: PreTrainedModel, prompt: list[int], answer: list[int]) -> bool:
    """True where the oracle continues the prompt so: each token may be the likeliest behind those
    before it. Where that depends on how long the whole is, the oracle continues it itself."""
    with torch.no_grad():
        logits = model(torch.tensor([prompt + answer[:-1]])).logits[0, len(prompt) - 1 :]
    if all(map(is_likeliest, answer, logits)):
        return True
    return continues(model, prompt, answer)


def check_greedy(
    model: PreTrainedModel, prompts: list[list[int]], answers: list[list[int]], count: int = 24
) -> None:
    """Answers of ``count`` tokens to these prompts are the oracle's."""
    for prompt, answer in zip(prompts, answers, strict=True):
        assert len(answer) == count
        assert is_greedy(model, prompt, answer)


def logprobs(model: PreTrainedModel, token_ids: list[int]) -> torch.Tensor:
    """[length, V]: the distribution after each token."""
    with torch.no_grad():
        return model(torch.tensor([token_ids])).logits[0].float().log_softmax(-1)
