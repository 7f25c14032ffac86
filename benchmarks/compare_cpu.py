"""unisono beside llama.cpp, OpenVINO GenAI and transformers on this CPU, interleaved in one run.

    python benchmarks/compare_cpu.py /tmp/compare --prepare    # once
    python benchmarks/compare_cpu.py /tmp/compare
    python benchmarks/compare_cpu.py /tmp/compare --quick --engines unisono-int4,llama-q4_0
    python benchmarks/compare_cpu.py /tmp/compare --isa avx2        # all forced to AVX2
    python benchmarks/compare_cpu.py /tmp/compare --gguf MODEL.gguf # a real model, both read it

``--prepare`` makes the model and the peers' environments (a C++ compiler, 10 GB of disk, minutes;
pip's variables count, such as ``PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu``).
Run it with the Python that has unisono, torch and transformers, and unisono-cpu for its kernels.

Every engine is a process with a Python of its own (``--llama-python``, ``--openvino-python``,
``--unisono-python``, or ``UNISONO_COMPARE_LLAMA_PYTHON`` and so on) that loads once and sleeps
while another works; the parent needs nothing but the standard library, and Linux. All take turns in
every round, forwards and backwards, and the memory's read rate and the bfloat16 GEMM rate are
measured in every round too, because on a shared machine they move. Figures are medians; ratios are
of pairs of a round.

The model has Qwen3-0.6B's shape and random weights. Prefill is a fresh prompt up to its first
token. For decode a sequence, a batch of them and a long one are filled once, and then go on in
every round. Peers run as their workers say, on as many threads as unisono.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
from collections.abc import Callable, Collection
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

from peers.prepare import llama_folder, prepare
from peers.process import WorkerProcess
from peers.report import FIGURES, ratios, show, summary
from peers.rounds import QUICK, Comparison, Workload

ISAS = {
    "avx2": {
        "UNISONO_CPU_ISA": "avx2",
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
    },
}
"""Variables that keep workers to an instruction set; llama.cpp is built for it, in llama-NAME/."""


class Engine(NamedTuple):
    """A worker; its command ends with the number of threads."""

    python: str
    script: str
    model: str | None
    """In the folder of the comparison; ``None``: the file of ``--gguf``."""
    weights: tuple[str, ...] = ()


ENGINES = {
    "unisono-bf16": Engine("unisono", "unisono_worker.py", "model", ("auto",)),
    "unisono-int8": Engine("unisono", "unisono_worker.py", "model", ("int8",)),
    "unisono-int4": Engine("unisono", "unisono_worker.py", "model", ("int4",)),
    "unisono-int4-g128": Engine("unisono", "unisono_worker.py", "model", ("int4-g128",)),
    "llama-bf16": Engine("llama", "llama_worker.py", "gguf/BF16.gguf"),
    "llama-q8_0": Engine("llama", "llama_worker.py", "gguf/Q8_0.gguf"),
    "llama-q4_0": Engine("llama", "llama_worker.py", "gguf/Q4_0.gguf"),
    "openvino-int4": Engine("openvino", "openvino_worker.py", "openvino-int4"),
    "transformers-bf16": Engine("unisono", "transformers_worker.py", "model"),
    "unisono-gguf": Engine("unisono", "unisono_worker.py", None, ("auto",)),
    "llama-gguf": Engine("llama", "llama_worker.py", None),
}


def engines_for(gguf: Path | None) -> list[str]:
    """Names of the engines that read the prepared model, or those that read ``gguf``."""
    return [name for name, engine in ENGINES.items() if (engine.model is None) == bool(gguf)]


def engine_command(
    engine: Engine, home: Path, pythons: dict[str, Path], threads: int, gguf: Path | None
) -> list[str | Path]:
    model = gguf if engine.model is None else home / engine.model
    assert model is not None
    return [pythons[engine.python], engine.script, model, *engine.weights, str(threads)]


def what_is_missing(command: list[str | Path]) -> str | None:
    missing = [str(part) for part in command if isinstance(part, Path) and not part.exists()]
    return f"{missing[0]} is not there; --prepare makes it" if missing else None


def flops_per_prompt_token(checkpoint: Path) -> float:
    """Operations of the layers' matrix products in a prefill; the head sees the last token alone.

    Embedding and head must be tied, and weights be of two bytes.
    """
    config = json.loads((checkpoint / "config.json").read_text())
    parameters = (checkpoint / "model.safetensors").stat().st_size / 2
    return 2 * (parameters - config["vocab_size"] * config["hidden_size"])


def compare(args: argparse.Namespace, pythons: dict[str, Path]) -> dict[str, Any]:
    """Load one worker after the other, then measure."""
    commands = {
        name: engine_command(ENGINES[name], args.home, pythons, args.threads, args.gguf)
        for name in args.engines
    }
    missing = {name: what_is_missing(commands[name]) for name in args.engines}
    logs = args.home / "logs"
    logs.mkdir(parents=True, exist_ok=True)

    with ExitStack() as stack:

        def start(name: str, command: list[str | Path]) -> WorkerProcess:
            print(f"loading {name}", file=sys.stderr)
            worker = WorkerProcess(command, logs / f"{name}.log", args.threads)
            stack.callback(worker.close)
            return worker

        roofs = start("roofs", [pythons["unisono"], "roofs_worker.py", str(args.threads)])
        workers = {name: start(name, commands[name]) for name, gone in missing.items() if not gone}
        comparison = Comparison(workers, roofs)
        comparison.run(args.workload, args.figures)
        return {
            "machine": {"kernel": platform.release(), **roofs.about},
            "threads": args.threads,
            "workload": asdict(args.workload),
            "roofs": comparison.roofs,
            "engines": measured(comparison, args.home / "model" if args.gguf is None else None),
            "ratios": ratios(comparison.rows),
            "left_out": {name: reason for name, reason in missing.items() if reason},
        }


def measured(comparison: Comparison, checkpoint: Path | None) -> dict[str, Any]:
    """Results of each engine; without a ``checkpoint`` what is known of its model alone."""
    typical = {
        name: statistics.median(roofs[name] for roofs in comparison.roofs)
        for name in ("read", "matmul")
    }
    flops = None if checkpoint is None else flops_per_prompt_token(checkpoint)
    found = {}
    for name, worker in comparison.workers.items():
        num_bytes = step_bytes(worker.about, is_tied_and_dense=checkpoint is not None)
        found[name] = {
            "about": worker.about,
            "rounds": comparison.rows[name],
            "summary": summary(comparison.rows[name], num_bytes, flops, typical),
            "step_bytes": num_bytes,
            "peak_rss_bytes": worker.peak_rss_bytes(),
            "idle_share": worker.idle_share(),
        }
    return found


def step_bytes(about: dict[str, Any], *, is_tied_and_dense: bool) -> int | None:
    """Bytes of weights that a decode step reads, where they are known: an engine that says what all
    its weights take reads them all in a dense model whose head is its embedding."""
    return about.get("step_bytes", about.get("model_bytes") if is_tied_and_dense else None)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("home", type=Path, help="folder of environments and models")
    parser.add_argument("--prepare", action="store_true", help="make what is missing there, only")
    parser.add_argument("--engines", type=names_among(ENGINES), help="all, unless named")
    parser.add_argument("--isa", choices=list(ISAS), help="keep all engines to an instruction set")
    parser.add_argument("--gguf", type=Path, help="a model that unisono and llama.cpp both read")
    parser.add_argument("--figures", type=names_among(FIGURES), default=list(FIGURES))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int)
    parser.add_argument(
        "--quick", action="store_true", help="one short round, to see that it works"
    )
    parser.add_argument("--json", action="store_true", help="the table goes to standard error")
    for name in ("unisono", "llama", "openvino"):
        parser.add_argument(f"--{name}-python", type=Path)
    args = parser.parse_args()
    args.home = args.home.absolute()
    if args.gguf is not None:
        args.gguf = args.gguf.absolute()
        if not args.gguf.is_file():
            parser.error(f"--gguf: {args.gguf} is no file.")
    allowed = engines_for(args.gguf)
    args.engines = args.engines or allowed
    for name in args.engines:
        if name not in allowed:
            here = "With --gguf" if args.gguf else "Without --gguf"
            parser.error(f"--engines: {name} does not run. {here} there are {', '.join(allowed)}.")
    args.workload = QUICK if args.quick else Workload()
    if args.rounds:
        args.workload = replace(args.workload, rounds=args.rounds)
    return args


def names_among(known: Collection[str]) -> Callable[[str], list[str]]:
    """A parser of names with commas between them, in the order in which they are known."""

    def parse(text: str) -> list[str]:
        names = text.split(",")
        unknown = [name for name in names if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(known)}")
        return [name for name in known if name in names]

    return parse


def interpreters(args: argparse.Namespace) -> dict[str, Path]:
    """Option, else environment variable, else what --prepare makes."""
    usual = {
        "unisono": Path(sys.executable),
        "llama": args.home / llama_folder(args.isa) / "bin" / "python",
        "openvino": args.home / "openvino" / "bin" / "python",
    }
    chosen = {
        name: getattr(args, f"{name}_python")
        or Path(os.environ.get(f"UNISONO_COMPARE_{name.upper()}_PYTHON", path))
        for name, path in usual.items()
    }
    return {name: path.absolute() for name, path in chosen.items()}


def main() -> None:
    args = parse_arguments()
    pythons = interpreters(args)
    if args.prepare:
        prepare(args.home, pythons, args.isa)
        return
    os.environ.update(ISAS.get(args.isa, {}))
    if args.gguf is None and not (args.home / "model").exists():
        sys.exit(f"{args.home} holds no model yet: run this with --prepare first.")
    result = compare(args, pythons)
    if args.json:
        print(json.dumps(result, indent=2))
    show(result, sys.stderr if args.json else sys.stdout)


if __name__ == "__main__":
    main()
