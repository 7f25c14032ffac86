"""llama.cpp: ``llama_worker.py MODEL.gguf THREADS``, through its C interface.

A context is made for the number of sequences and tokens at hand, because llama.cpp divides it
evenly among its sequences. Flash attention is on where it was measured to be faster: for prompts
and for several sequences, not for the decode of one. Keys and values are float16, its default.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
from worker import TimedSession, serve

MICRO_BATCH = 512
ROOM_FOR_ANSWER = 512


class LlamaSession:
    def __init__(self, file: Path, threads: int) -> None:
        llama_cpp.llama_backend_init()
        model = llama_cpp.llama_model_load_from_file(
            str(file).encode(), llama_cpp.llama_model_default_params()
        )
        if not model:
            raise RuntimeError(f"llama.cpp could not load {file}.")
        self.model = model
        self.threads = threads
        self.vocab_size = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
        self._context: Any = None
        self._shape = (0, 0, False)

    def describe(self) -> dict[str, Any]:
        return {
            "version": llama_cpp.__version__,
            "system": llama_cpp.llama_print_system_info().decode(),
            "flash_attention": "prefill and batches",
            "kv": "float16",
            "model_bytes": llama_cpp.llama_model_size(self.model),
        }

    def clear(self, batch: int, tokens: int, aim: str) -> None:
        shape = (batch, tokens, batch > 1 or aim == "prefill")
        if self._shape != shape:
            if self._context:
                llama_cpp.llama_free(self._context)
            self._context = self._new_context(*shape)
            self._shape = shape
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self._context), False)

    def _new_context(self, batch: int, tokens: int, flash: bool) -> Any:
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = batch * (tokens + ROOM_FOR_ANSWER)
        params.n_batch = max(tokens, batch)
        params.n_ubatch = MICRO_BATCH
        params.n_seq_max = batch
        params.kv_unified = False
        params.n_threads = params.n_threads_batch = self.threads
        params.flash_attn_type = int(flash)
        context = llama_cpp.llama_init_from_model(self.model, params)
        if not context:
            raise RuntimeError(f"llama.cpp gave no context for {batch} x {tokens} tokens.")
        return context

    def fill(self, prompts: list[list[int]]) -> None:
        self._last = [self._take_in(i, prompt) for i, prompt in enumerate(prompts)]

    def _take_in(self, sequence: int, prompt: list[int]) -> int:
        rows = [(token, position, sequence) for position, token in enumerate(prompt)]
        return self._decode(rows, wanted=[len(rows) - 1])[0]

    def step(self, count: int) -> None:
        for _ in range(count):
            lengths = self.lengths()
            rows = [(self._last[i], lengths[i], i) for i in range(len(self._last))]
            self._last = self._decode(rows, wanted=list(range(len(rows))))

    def lengths(self) -> list[int]:
        memory = llama_cpp.llama_get_memory(self._context)
        return [llama_cpp.llama_memory_seq_pos_max(memory, i) + 1 for i in range(len(self._last))]

    def _decode(self, rows: list[tuple[int, int, int]], wanted: list[int]) -> list[int]:
        """Run (token, position, sequence) rows, and choose the likeliest token behind some."""
        batch = llama_cpp.llama_batch_init(len(rows), 0, 1)
        try:
            batch.n_tokens = len(rows)
            for i, (token, position, sequence) in enumerate(rows):
                batch.token[i] = token
                batch.pos[i] = position
                batch.n_seq_id[i] = 1
                batch.seq_id[i][0] = sequence
                batch.logits[i] = i in wanted
            if llama_cpp.llama_decode(self._context, batch):
                raise RuntimeError("llama_decode failed.")
        finally:
            llama_cpp.llama_batch_free(batch)
        return [self._likeliest(row) for row in wanted]

    def _likeliest(self, row: int) -> int:
        logits = llama_cpp.llama_get_logits_ith(self._context, row)
        return int(np.ctypeslib.as_array(logits, (self.vocab_size,)).argmax())


if __name__ == "__main__":
    file, threads = sys.argv[1:]
    serve(TimedSession(LlamaSession(Path(file), int(threads))))
