"""unisono beside llama.cpp, OpenVINO GenAI and transformers on this CPU, interleaved in one run.

    python benchmarks/compare_cpu.py /tmp/compare --prepare    # once
    python benchmarks/compare_cpu.py /tmp/compare
    python benchmarks/compare_cpu.py /tmp/compare --quick --engines unisono-int4,llama-q4_0

``--prepare`` makes the model and the peers' environments (a C++ compiler, 10 GB of disk, minutes).
Run it with the Python that has unisono, torch and transformers, and unisono-cpu for its kernels.

Every engine is a process with a Python of its own (``--llama-python``, ``--openvino-python``,
``--unisono-python``, or ``UNISONO_COMPARE_LLAMA_PYTHON`` and so on) that loads once and sleeps
while another works; the parent needs nothing but the standard library, and Linux. All take turns in
every round, forwards and backwards, and the memory's read rate and the bfloat16 GEMM rate are
measured in every round too, because on a shared machine they move. Figures are medians; ratios are
of pairs of a round.

The model has Qwen3-0.6B's shape and random weights. Prefill is a fresh prompt up to its first
token, decode the tokens behind it. Sequences of a batch, and the long one, are filled once and then
go on in every round. A peer runs with its own defaults, on as many threads as unisono.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from peers.prepare import prepare
from peers.process import WorkerProcess
from peers.report import FIGURES, Rows, ratios, show, summary

NEVER_CACHED = 1_000


@dataclass(frozen=True)
class Workload:
    """Tokens; ``rounds`` is how often everything is measured. No long sequence where it is 0."""

    prompt: int = 512
    generate: int = 32
    batch: int = 8
    batch_prompt: int = 128
    batch_generate: int = 16
    long: int = 8192
    long_generate: int = 8
    rounds: int = 5


QUICK = Workload(generate=8, batch_generate=4, long=1024, long_generate=4, rounds=1)


def engine_commands(home: Path, pythons: dict[str, Path], threads: int) -> dict[str, list[Any]]:
    """Name -> interpreter, script, arguments."""
    checkpoint, gguf = home / "model", home / "gguf"
    ours: list[Any] = [pythons["unisono"], "unisono_worker.py", checkpoint]
    llama: list[Any] = [pythons["llama"], "llama_worker.py"]
    return {
        "unisono-bf16": [*ours, "auto", threads],
        "unisono-int8": [*ours, "int8", threads],
        "unisono-int4": [*ours, "int4", threads],
        "llama-bf16": [*llama, gguf / "BF16.gguf", threads],
        "llama-q8_0": [*llama, gguf / "Q8_0.gguf", threads],
        "llama-q4_0": [*llama, gguf / "Q4_0.gguf", threads],
        "openvino-int4": [
            pythons["openvino"], "openvino_worker.py", home / "openvino-int4", threads,
        ],
        "transformers-bf16": [
            pythons["unisono"], "transformers_worker.py", checkpoint, threads,
        ],
    }  # fmt: skip


def what_is_missing(command: list[Any]) -> str | None:
    missing = [str(part) for part in command if isinstance(part, Path) and not part.exists()]
    return f"{missing[0]} is not there; --prepare makes it" if missing else None


class Comparison:
    """The workers and what was measured of them."""

    def __init__(self, workers: dict[str, WorkerProcess], roofs: WorkerProcess) -> None:
        self.workers = workers
        self.rows: Rows = {name: {figure: [] for figure in FIGURES} for name in workers}
        self.roofs: list[dict[str, float]] = []
        self._roofs_worker = roofs
        self._seed = NEVER_CACHED

    def run(self, work: Workload) -> None:
        for worker in self.workers.values():
            self._fill(worker, 1, work.prompt)
            worker.ask("step", tokens=4)
            worker.watch_idleness()
        for index in range(work.rounds):
            self._round(index, lambda name, worker: self._single(name, worker, work))
        self._held("batch_decode", work.batch, work.batch_prompt, work.batch_generate, work.rounds)
        if work.long:
            self._held("long_decode", 1, work.long, work.long_generate, work.rounds)

    def _fill(self, worker: WorkerProcess, batch: int, tokens: int) -> float:
        self._seed += 1
        return worker.ask("fill", batch=batch, tokens=tokens, seed=self._seed)["seconds"]

    def _round(self, index: int, turn: Any) -> None:
        """Roofs, then every worker's turn, backwards in every other round."""
        self.roofs.append(self._roofs_worker.ask("roofs"))
        names = list(self.workers)
        for name in names if index % 2 == 0 else reversed(names):
            turn(name, self.workers[name])

    def _single(self, name: str, worker: WorkerProcess, work: Workload) -> None:
        self.rows[name]["prefill"].append(work.prompt / self._fill(worker, 1, work.prompt))
        self._step("decode", name, worker, 1, work.generate)

    def _step(self, figure: str, name: str, worker: WorkerProcess, batch: int, tokens: int) -> None:
        seconds = worker.ask("step", tokens=tokens)["seconds"]
        self.rows[name][figure].append(batch * tokens / seconds)

    def _held(self, figure: str, batch: int, prompt: int, tokens: int, rounds: int) -> None:
        """Fill once, then decode in every round."""
        for worker in self.workers.values():
            self._fill(worker, batch, prompt)
            worker.ask("step", tokens=1)
        for index in range(rounds):
            self._round(index, lambda name, worker: self._step(figure, name, worker, batch, tokens))


def flops_per_prompt_token(checkpoint: Path) -> float:
    """Of the layers' matrix products in a prefill: the head sees the last token alone.

    Embedding and head must be tied, and weights be of two bytes.
    """
    config = json.loads((checkpoint / "config.json").read_text())
    parameters = (checkpoint / "model.safetensors").stat().st_size / 2
    return 2 * (parameters - config["vocab_size"] * config["hidden_size"])


def compare(args: argparse.Namespace, pythons: dict[str, Path]) -> dict[str, Any]:
    """Load one worker after the other, then measure."""
    commands = engine_commands(args.home, pythons, args.threads)
    wanted = args.engines.split(",") if args.engines else list(commands)
    missing = {name: what_is_missing(commands[name]) for name in wanted}
    logs = args.home / "logs"
    logs.mkdir(exist_ok=True)

    with ExitStack() as stack:

        def start(name: str, command: list[Any]) -> WorkerProcess:
            print(f"loading {name}", file=sys.stderr)
            worker = WorkerProcess(command, logs / f"{name}.log", args.threads)
            stack.callback(worker.close)
            return worker

        roofs = start("roofs", [pythons["unisono"], "roofs_worker.py", args.threads])
        workers = {name: start(name, commands[name]) for name in wanted if not missing[name]}
        comparison = Comparison(workers, roofs)
        comparison.run(args.workload)
        return {
            "machine": {"kernel": platform.release(), **roofs.about},
            "threads": args.threads,
            "workload": asdict(args.workload),
            "roofs": comparison.roofs,
            "engines": engines(comparison, flops_per_prompt_token(args.home / "model")),
            "ratios": ratios(comparison.rows),
            "left_out": {name: reason for name, reason in missing.items() if reason},
        }


def engines(comparison: Comparison, flops_per_token: float) -> dict[str, Any]:
    typical = {
        name: statistics.median(roofs[name] for roofs in comparison.roofs)
        for name in ("read", "matmul")
    }
    return {
        name: {
            "about": worker.about,
            "rounds": comparison.rows[name],
            "summary": summary(
                comparison.rows[name], worker.about["step_bytes"], flops_per_token, typical
            ),
            "peak_rss_bytes": worker.peak_rss_bytes(),
            "idle_share": worker.idle_share(),
        }
        for name, worker in comparison.workers.items()
    }


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("home", type=Path, help="folder of environments and models")
    parser.add_argument("--prepare", action="store_true", help="make what is missing there, only")
    parser.add_argument("--engines", help="some of them, with commas")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--long", type=int, help="tokens of the long context; 0 leaves it out")
    parser.add_argument(
        "--quick", action="store_true", help="one short round, to see that it works"
    )
    parser.add_argument("--json", action="store_true")
    for name in ("unisono", "llama", "openvino"):
        parser.add_argument(f"--{name}-python", type=Path)
    args = parser.parse_args()
    chosen = {key: getattr(args, key) for key in ("rounds", "long")}
    given = {key: value for key, value in chosen.items() if value is not None}
    args.home = args.home.absolute()
    args.workload = Workload(**{**asdict(QUICK if args.quick else Workload()), **given})
    return args


def interpreters(args: argparse.Namespace) -> dict[str, Path]:
    """Option, else environment variable, else what --prepare makes."""
    usual = {
        "unisono": Path(sys.executable),
        "llama": args.home / "llama" / "bin" / "python",
        "openvino": args.home / "openvino" / "bin" / "python",
    }
    return {
        name: getattr(args, f"{name}_python")
        or Path(os.environ.get(f"UNISONO_COMPARE_{name.upper()}_PYTHON", path))
        for name, path in usual.items()
    }


def main() -> None:
    args = parse_arguments()
    pythons = interpreters(args)
    if args.prepare:
        prepare(args.home, pythons["llama"], pythons["openvino"], pythons["unisono"])
        return
    result = compare(args, pythons)
    if args.json:
        print(json.dumps(result, indent=2))
    else:
        show(result)


if __name__ == "__main__":
    main()
