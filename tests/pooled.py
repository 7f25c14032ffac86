"""Pooled rows for tests: engines' vectors, and what an oracle's hidden states give."""

from __future__ import annotations

import struct
from typing import Any

import torch
from transformers import PreTrainedModel

from tests.engines import request, run
from unisono.core import SamplingParams
from unisono.core.pooling import Pooling
from unisono.engine import Engine

NO_ANSWER = SamplingParams(max_tokens=0)


def numbers_in(pooled: bytes | None) -> list[float]:
    assert pooled is not None
    return list(struct.unpack(f"<{len(pooled) // 4}f", pooled))


def pooled(engine: Engine, prompts: list[list[int]], *how: Pooling, **fields: Any) -> torch.Tensor:
    """Numbers of each prompt, all in flight together; ``how`` is one for all, or one each."""
    hows = how * len(prompts) if len(how) == 1 else how
    requests = [
        request(i, prompt, NO_ANSWER, pooling=own, **fields)
        for i, (prompt, own) in enumerate(zip(prompts, hows, strict=True))
    ]
    done = run(engine, requests)
    assert [one.error for one in done.values()] == [None] * len(prompts)
    return torch.tensor([numbers_in(done[str(i)].pooled) for i in range(len(prompts))])


def hidden_states(model: PreTrainedModel, prompt: list[int]) -> torch.Tensor:
    """[length, H], normed."""
    base: Any = getattr(model, model.base_model_prefix)
    with torch.no_grad():
        return base(torch.tensor([prompt])).last_hidden_state[0]
