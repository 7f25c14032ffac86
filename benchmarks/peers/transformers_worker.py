"""transformers: ``transformers_worker.py CHECKPOINT THREADS``, bfloat16 ``generate``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, DynamicCache
from worker import TimedSession, serve


class TransformersSession:
    """``generate`` goes on where it stopped, by way of the cache it is handed."""

    def __init__(self, checkpoint: Path) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.bfloat16)
        self.vocab_size = self.model.config.vocab_size

    def describe(self) -> dict[str, Any]:
        return {
            "version": transformers.__version__,
            "torch": torch.__version__,
            "attention": self.model.config._attn_implementation,
            "kv": "bfloat16",
            "step_bytes": sum(p.nbytes for p in self.model.parameters()),
        }

    def clear(self, batch: int, tokens: int, aim: str) -> None:
        self.cache = DynamicCache(config=self.model.config)

    def fill(self, prompts: list[list[int]]) -> None:
        self.token_ids = torch.tensor(prompts)
        self.step(1)

    @torch.inference_mode()
    def step(self, count: int) -> None:
        self.token_ids = self.model.generate(
            self.token_ids,
            attention_mask=torch.ones_like(self.token_ids),
            past_key_values=self.cache,
            max_new_tokens=count,
            min_new_tokens=count,
            do_sample=False,
        )

    def lengths(self) -> list[int]:
        return [self.cache.get_seq_length()] * len(self.token_ids)


if __name__ == "__main__":
    checkpoint, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    serve(TimedSession(TransformersSession(Path(checkpoint))))
