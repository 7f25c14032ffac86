"""The order of measurements: every engine in every round, and the machine in between."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass

from .process import WorkerProcess
from .report import FIGURES, Rows


@dataclass(frozen=True)
class Workload:
    """Numbers of tokens and sequences; ``rounds`` is how often each figure is measured."""

    prompt: int = 512
    short: int = 32
    generate: int = 32
    batch: int = 8
    batch_prompt: int = 128
    batch_generate: int = 16
    wide: int = 32
    wide_generate: int = 8
    long: int = 8192
    long_generate: int = 8
    rounds: int = 5

    def decodes(self) -> dict[str, tuple[int, int, int]]:
        """Figure -> sequences, tokens of each prompt, tokens a round."""
        return {
            "decode": (1, self.short, self.generate),
            "batch_decode": (self.batch, self.batch_prompt, self.batch_generate),
            "wide_decode": (self.wide, self.batch_prompt, self.wide_generate),
            "long_decode": (1, self.long, self.long_generate),
        }


QUICK = Workload(
    generate=8, batch_generate=4, wide_generate=2, long=1024, long_generate=4, rounds=1
)


class Comparison:
    """The workers and what was measured of them."""

    def __init__(self, workers: dict[str, WorkerProcess], roofs: WorkerProcess) -> None:
        self.workers = workers
        self.rows: Rows = {name: {figure: [] for figure in FIGURES} for name in workers}
        self.roofs: list[dict[str, float]] = []
        self._roofs_worker = roofs
        self._num_fills = 0

    def run(self, work: Workload, figures: list[str]) -> None:
        for figure in figures:
            print(f"measuring {figure}", file=sys.stderr)
            if figure == "prefill":
                self._prefill(work.prompt, work.rounds)
            else:
                self._decode(figure, *work.decodes()[figure], work.rounds)

    def _prefill(self, tokens: int, rounds: int) -> None:
        """A fresh prompt in every round, after one that is not counted."""
        for worker in self.workers.values():
            self._fill(worker, 1, tokens, "prefill")
        for index in range(rounds):
            for name in self._turns(index):
                seconds = self._fill(self.workers[name], 1, tokens, "prefill")
                self.rows[name]["prefill"].append(tokens / seconds)

    def _decode(self, figure: str, batch: int, prompt: int, tokens: int, rounds: int) -> None:
        """Filled once, ``tokens`` more in every round, after two that are not counted."""
        for name, worker in self.workers.items():
            seconds = self._fill(worker, batch, prompt, "decode")
            print(f"  {name}: {batch} x {prompt} tokens in {seconds:.1f} s", file=sys.stderr)
            worker.ask("step", tokens=2)
        for index in range(rounds):
            for name in self._turns(index):
                seconds = self.workers[name].ask("step", tokens=tokens)["seconds"]
                self.rows[name][figure].append(batch * tokens / seconds)

    def _fill(self, worker: WorkerProcess, batch: int, tokens: int, aim: str) -> float:
        self._num_fills += 1
        seed = self._num_fills
        return worker.ask("fill", batch=batch, tokens=tokens, seed=seed, aim=aim)["seconds"]

    def _turns(self, index: int) -> Iterable[str]:
        """Measures the roofs, then names who is next: backwards in every other round."""
        self.roofs.append(self._roofs_worker.ask("roofs"))
        names = list(self.workers)
        return names if index % 2 == 0 else reversed(names)
