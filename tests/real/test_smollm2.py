"""SmolLM2-135M-Instruct, a published model as GGUF (Q4_1), against transformers reading the same
file; and what kernels and formats of weights cost on it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer
from unisono_cpu.hardware import NativeCpuHardware

from tests.engines import engine, request, run
from tests.passes import logits
from tests.real.rendering import ours, theirs
from tests.real.texts import CONVERSATIONS, TEXTS
from unisono.core import SamplingParams
from unisono.hardware.devices.cpu import CpuHardware
from unisono.models import load_model
from unisono.text import Tokenizer

NUM_TOKENS = 2000
NUM_ANSWER_TOKENS = 24
QUESTIONS = (
    "What is the capital of France?",
    "Write two sentences about the sea.",
    "Write a Python function that adds two numbers.",
    "用一句话介绍北京。",
    "请把下面的话翻译成英文：今天天气很好。",
)
BOUNDS = {"auto": 0.02, "int8": 0.03, "int8-g32": 0.02, "int4": 0.3}
"""By how much of float32's perplexity a format may exceed it."""


@pytest.fixture(scope="module")
def tokenizer(smollm2: Path) -> Tokenizer:
    return Tokenizer.load(smollm2)


@pytest.fixture(scope="module")
def oracle_tokenizer(smollm2: Path) -> Any:
    """With the digits apart: transformers does not read how a GGUF file says to cut a text, and
    this is what the model's ``tokenizer.json`` does."""
    oracle = AutoTokenizer.from_pretrained(smollm2.parent, gguf_file=smollm2.name)
    oracle.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    return oracle


@pytest.fixture(scope="module")
def oracle(smollm2: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(
        smollm2.parent, gguf_file=smollm2.name, dtype=torch.float32
    ).eval()


@pytest.fixture(scope="module")
def passage(tokenizer: Tokenizer) -> list[int]:
    """An English story, then the beginning of a Chinese one."""
    here = Path(__file__).parent
    texts = [(here / f"passage_{name}.txt").read_text("utf-8") for name in ("en", "zh")]
    return [token_id for text in texts for token_id in tokenizer.encode(text)][:NUM_TOKENS]


@pytest.fixture(scope="module")
def exact(smollm2: Path, passage: list[int]) -> torch.Tensor:
    """Logits of the passage in float32, on the reference."""
    hardware = CpuHardware()
    return logits(load_model(smollm2, hardware, dtype="float32"), hardware, passage)


def perplexity(of: torch.Tensor, token_ids: list[int]) -> float:
    following = torch.tensor(token_ids[1:])
    return math.exp(torch.nn.functional.cross_entropy(of[:-1].float(), following).item())


def test_ids(tokenizer: Tokenizer, oracle_tokenizer: Any) -> None:
    for text in TEXTS:
        for special in (False, True):
            expected = oracle_tokenizer.encode(text, add_special_tokens=special)
            assert tokenizer.encode(text, add_special_tokens=special) == expected
            assert tokenizer.decode(expected) == oracle_tokenizer.decode(
                expected, skip_special_tokens=True, clean_up_tokenization_spaces=False
            )


def test_chats(tokenizer: Tokenizer, oracle_tokenizer: Any) -> None:
    for name, conversation in CONVERSATIONS.items():
        expected = theirs(oracle_tokenizer, conversation)
        assert (name, ours(tokenizer.render_chat, conversation)) == (name, expected)


def test_logits(exact: torch.Tensor, oracle: Any, passage: list[int]) -> None:
    assert len(passage) == NUM_TOKENS
    with torch.inference_mode():
        expected = oracle(torch.tensor([passage])).logits[0]
    assert (exact - expected).abs().max() <= 1e-4 * expected.abs().max()


def test_greedy_tokens(smollm2: Path, tokenizer: Tokenizer, oracle: Any) -> None:
    """All questions in flight together, in pieces of prompts."""
    prompts = [tokenizer.encode_chat([{"role": "user", "content": each}]) for each in QUESTIONS]
    params = SamplingParams(temperature=0.0, max_tokens=NUM_ANSWER_TOKENS)
    done = run(
        engine(smollm2, kv_memory=64 << 20, max_num_batched_tokens=128),
        [request(index, prompt, params) for index, prompt in enumerate(prompts)],
    )
    for index, prompt in enumerate(prompts):
        expected = oracle.generate(
            torch.tensor([prompt]), do_sample=False, max_new_tokens=NUM_ANSWER_TOKENS
        )[0, len(prompt) :].tolist()
        answer = done[str(index)].token_ids
        assert expected[: len(answer)] == answer
        assert len(answer) == len(expected) or expected[len(answer) :] == [
            tokenizer.token_id("<|im_end|>")
        ]


@pytest.fixture
def native(monkeypatch: pytest.MonkeyPatch) -> NativeCpuHardware:
    monkeypatch.setenv("UNISONO_IGNORE_PACKAGES", "")
    return NativeCpuHardware()


@pytest.mark.parametrize("weights", BOUNDS)
def test_perplexity_on_native_kernels(
    weights: str, native: NativeCpuHardware, smollm2: Path, exact: torch.Tensor, passage: list[int]
) -> None:
    """Weights of four bits are rounded twice here, once by whoever made the file."""
    loaded = load_model(smollm2, native, dtype="float32", weights=weights)
    found, expected = (
        perplexity(logits(loaded, native, passage), passage),
        perplexity(exact, passage),
    )
    print(f"{weights}: perplexity {found:.3f}, float32 {expected:.3f}")
    assert abs(found / expected - 1) <= BOUNDS[weights]
