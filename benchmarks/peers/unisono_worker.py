"""unisono: ``unisono_worker.py CHECKPOINT WEIGHTS THREADS``, the engine in this process."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import torch
from worker import TimedSession, serve

from unisono.core import EngineConfig, Request, SamplingParams
from unisono.engine import Engine, build_engine
from unisono.hardware import find_hardware

KV_BYTES = 5 * 2**28
ANSWER = SamplingParams(temperature=0.0, max_tokens=512, ignore_eos=True)


class UnisonoSession:
    """Requests stay in flight until the next ``fill``."""

    def __init__(self, checkpoint: Path, weights: str) -> None:
        config = EngineConfig(
            device="cpu",
            dtype="bfloat16",
            weights=weights,
            kv_memory=KV_BYTES,
            prefix_cache=False,
        )
        self.engine: Engine = build_engine(checkpoint, config)
        self.vocab_size = self.engine.info.vocab_size
        self._lengths: dict[str, int] = {}

    def describe(self) -> dict[str, Any]:
        hardware = find_hardware("cpu")
        info = self.engine.info
        return {
            "device": type(hardware).describe(hardware.index),
            "hardware": f"{type(hardware).__module__}.{type(hardware).__name__}",
            "weights": info.weight_format,
            "kv": info.dtype,
            "step_bytes": info.step_weight_bytes,
        }

    def clear(self, batch: int, tokens: int, aim: str) -> None:
        for request_id in self._lengths:
            self.engine.abort(request_id)

    def fill(self, prompts: list[list[int]]) -> None:
        self._lengths = {f"p{i}": len(prompt) - 1 for i, prompt in enumerate(prompts)}
        waiting = set(self._lengths)
        for request_id, prompt in zip(self._lengths, prompts, strict=True):
            self.engine.add(Request(id=request_id, prompt_token_ids=tuple(prompt), params=ANSWER))
        while waiting:
            waiting -= self._advance()

    def step(self, count: int) -> None:
        for _ in range(count):
            self._advance()

    def lengths(self) -> list[int]:
        return list(self._lengths.values())

    def _advance(self) -> set[str]:
        """Takes a step; gives the ids of sequences that got a token. Once a sequence has one, all
        but its last token are held."""
        outputs = self.engine.step()
        for output in outputs:
            if output.error is not None:
                raise RuntimeError(output.error)
            self._lengths[output.request_id] += len(output.token_ids)
        return {output.request_id for output in outputs}


def require(isa: str) -> None:
    """End this process where other kernels run than those of the set that was asked for."""
    kernels = type(find_hardware("cpu")).kernels()
    if isa and not kernels.startswith(f"native kernels ({isa};"):
        sys.exit(f"{isa} was asked for; {kernels} run.")


if __name__ == "__main__":
    checkpoint, weights, threads = sys.argv[1:]
    asked_for = os.environ.get("UNISONO_CPU_ISA", "")  # Before the kernels are there: they drop it.
    torch.set_num_threads(int(threads))
    require(asked_for)
    serve(TimedSession(UnisonoSession(Path(checkpoint), weights)))
