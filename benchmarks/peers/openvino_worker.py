"""OpenVINO GenAI: ``openvino_worker.py MODEL_FOLDER THREADS``, its pipeline for many requests.

Precisions of inference, KV cache and activations are OpenVINO's own choice for the processor.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import openvino_genai as genai
from worker import TimedSession, serve

PRECISIONS = (
    "INFERENCE_PRECISION_HINT",
    "KEY_CACHE_PRECISION",
    "VALUE_CACHE_PRECISION",
    "DYNAMIC_QUANTIZATION_GROUP_SIZE",
)
LONGEST_STEP_TOKENS = 1024


def scheduling() -> genai.SchedulerConfig:
    """Prompts of up to 1,024 tokens in one step, the cache as large as it needs to be."""
    config = genai.SchedulerConfig()
    config.max_num_batched_tokens = LONGEST_STEP_TOKENS
    config.cache_size = 0
    config.enable_prefix_caching = False
    return config


def greedy() -> genai.GenerationConfig:
    """The checkpoint names no end of sequence, and the pipeline insists on one."""
    config = genai.GenerationConfig()
    config.do_sample = False
    config.ignore_eos = True
    config.eos_token_id = 0
    config.stop_token_ids = {0}
    config.max_new_tokens = 512
    return config


class OpenvinoSession:
    """Requests stay in flight until the next ``fill``."""

    def __init__(self, folder: Path, threads: int) -> None:
        self.folder = folder
        properties = {"INFERENCE_NUM_THREADS": threads}
        self.pipeline = genai.ContinuousBatchingPipeline(folder, scheduling(), "CPU", properties)
        self.vocab_size = json.loads((folder / "config.json").read_text())["vocab_size"]
        self._handles: list[genai.GenerationHandle] = []
        self._lengths: list[int] = []
        self._next_id = 0

    def describe(self) -> dict[str, Any]:
        core = ov.Core()
        return {
            "version": genai.__version__,
            **{name: str(core.get_property("CPU", name)) for name in PRECISIONS},
            "cache_bytes": self.pipeline.get_metrics().cache_size_in_bytes,
            "step_bytes": (self.folder / "openvino_model.bin").stat().st_size,
        }

    def clear(self, batch: int, tokens: int, aim: str) -> None:
        for handle in self._handles:
            handle.stop()
        while self.pipeline.has_non_finished_requests():
            self.pipeline.step()

    def fill(self, prompts: list[list[int]]) -> None:
        self._handles = [self._add(prompt) for prompt in prompts]
        self._lengths = [len(prompt) - 1 for prompt in prompts]
        num_prompt = list(self._lengths)
        while any(now <= then for now, then in zip(self._lengths, num_prompt, strict=True)):
            self._advance()

    def step(self, count: int) -> None:
        for _ in range(count):
            self._advance()

    def lengths(self) -> list[int]:
        return self._lengths

    def _add(self, prompt: list[int]) -> genai.GenerationHandle:
        self._next_id += 1
        token_ids = ov.Tensor(np.array([prompt], dtype=np.int64))
        return self.pipeline.add_request(self._next_id, token_ids, greedy())

    def _advance(self) -> None:
        """Once a sequence has a token, all but its last token are held."""
        self.pipeline.step()
        self._lengths = [
            length + num_new(handle)
            for length, handle in zip(self._lengths, self._handles, strict=True)
        ]


def num_new(handle: genai.GenerationHandle) -> int:
    if not handle.can_read():
        return 0
    return sum(len(output.generated_ids) for output in handle.read().values())


if __name__ == "__main__":
    folder, threads = sys.argv[1:]
    serve(TimedSession(OpenvinoSession(Path(folder), int(threads))))
