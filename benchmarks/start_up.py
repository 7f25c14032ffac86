"""From the start of ``unisono run`` to the first token on the screen: the first time, which
quantises the weights and keeps them, and later times, which map them.

    python benchmarks/start_up.py /tmp/qwen3-0.6b-shape

Makes a random checkpoint of Qwen3-0.6B's shape with a byte tokenizer, if it is not there. Each
start is a process of its own. The files that later starts read are in the system's memory by then.
Peak memory is the process's largest resident set, mapped files included.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
MAKE = """
import sys
from pathlib import Path
import torch
from safetensors.torch import load_file, save_file
from benchmarks.random_checkpoint import make
from tests.byte_tokenizer import write_byte_tokenizer

folder = make(Path(sys.argv[1]))
path, name = folder / "model.safetensors", "model.embed_tokens.weight"
tensors = load_file(path)
likely = torch.zeros(len(tensors[name]), 1, dtype=torch.bfloat16)
likely[ord("a") - 33 : ord("z") - 32] = 1.0
tensors[name] *= likely
save_file(tensors, path, metadata={"format": "pt"})
write_byte_tokenizer(folder, "{% for message in messages %}{{ message['content'] }}{% endfor %}")
"""
"""Other rows of the tied head are zeros, so that every token is a letter, on the screen at once."""


@dataclass(frozen=True)
class Start:
    """One process."""

    first_token_s: float
    peak_bytes: int


def start(folder: Path, options: list[str], cache: Path) -> Start:
    """Run until the end; the clock starts before the process does."""
    command = [sys.executable, "-m", "unisono", "run", str(folder), "hello", *options]
    environment = {**os.environ, "UNISONO_WEIGHT_CACHE": str(cache)}
    began = time.perf_counter()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    ) as process:
        assert process.stdout is not None
        first = process.stdout.read(1)
        first_token_s = time.perf_counter() - began
        process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode or not first.strip():
        sys.exit(f"{' '.join(command)} gave no token.")
    return Start(first_token_s, usage.ru_maxrss * 1024)


def measure(folder: Path, options: list[str], repeat: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        cache = Path(name)
        first = start(folder, options, cache)
        later = [start(folder, options, cache) for _ in range(repeat)]
        kept_bytes = sum(path.stat().st_size for path in cache.iterdir())
    return {
        "kept_bytes": kept_bytes,
        "first": asdict(first),
        "later_median": {
            field: statistics.median(getattr(one, field) for one in later)
            for field in ("first_token_s", "peak_bytes")
        },
        "later": [asdict(one) for one in later],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", default="int4")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeat", type=int, default=5, help="later starts")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if not (args.folder / "tokenizer.json").exists():
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
        subprocess.run([sys.executable, "-c", MAKE, args.folder], check=True, env=environment)
    options = ["--device", args.device, "--weights", args.weights, "--raw", "--max-tokens", "4"]
    result = measure(args.folder, options, args.repeat)
    if args.json:
        print(json.dumps(result, indent=2))
        return
    print(f"kept weights {result['kept_bytes'] / 1e6:.0f} MB")
    for name in ("first", "later_median"):
        one = result[name]
        print(
            f"{name.replace('_', ' ')}: first token after {one['first_token_s']:.2f} s, "
            f"peak memory {one['peak_bytes'] / 1e6:.0f} MB"
        )


if __name__ == "__main__":
    main()
