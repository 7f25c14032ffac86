"""Tokens per second through HTTP, against the same requests given to the engine directly.

    python benchmarks/serve_streaming.py MODEL_FOLDER --clients 32 --generate 128 --prompt 64

Three processes take part in a served run: the clients (raw sockets, one process), the API process
and the engine process. In an offline run there is one, which calls ``Engine`` in a loop. Served and
offline runs alternate, so that a machine that slows down slows both. The ratio is of medians.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

SERVER = """
import sys
from pathlib import Path
from unisono.core import EngineConfig
from unisono.server import ServerSettings, serve
config = eval(sys.argv[2])
serve(ServerSettings(model_folder=Path(sys.argv[1]), model_name="m", port=0,
                     engine=EngineConfig(**config)))
"""


@dataclass(frozen=True)
class Load:
    """``clients`` requests at once, each of ``prompt`` tokens in and ``generate`` out."""

    clients: int
    prompt: int
    generate: int
    vocab_size: int

    def prompts(self, run: int) -> list[list[int]]:
        """Token ids that no two runs or clients share, so that no prefix is cached."""
        first = run * self.clients
        return [self._prompt(first + client) for client in range(self.clients)]

    def _prompt(self, number: int) -> list[int]:
        head = [1 + number // 250 % 250, 1 + number % 250]
        return [*head, *(1 + (number * 31 + i * 7) % 250 for i in range(self.prompt - 2))]


@dataclass
class Run:
    """``first_token_s`` is when the last client had its first token."""

    kind: str
    seconds: float
    tokens: int
    first_token_s: float

    @property
    def tokens_per_s(self) -> float:
        return self.tokens / self.seconds

    def line(self) -> str:
        return (
            f"{self.kind:8} {self.tokens_per_s:9.1f} tokens/s, "
            f"first tokens after {self.first_token_s:.2f} s"
        )


def engine_options(load: Load, arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "dtype": arguments.dtype,
        "weights": arguments.weights,
        "max_num_seqs": load.clients,
        "max_num_batched_tokens": max(1024, load.clients),
        "kv_memory": arguments.kv_memory << 20,
        "prefix_cache": False,
    }


def offline_worker(pipe: Any, folder: str, options: dict[str, Any]) -> None:
    """Answers each list of prompts with the seconds, tokens and first-token time it took."""
    from unisono.core import EngineConfig, Request, SamplingParams
    from unisono.engine import build_engine

    engine = build_engine(Path(folder), EngineConfig(**options))
    pipe.send("ready")
    while True:
        prompts, generate = pipe.recv()
        params = SamplingParams(max_tokens=generate, temperature=1.0, ignore_eos=True)
        started_s = time.perf_counter()
        for index, prompt in enumerate(prompts):
            name = f"{started_s}-{index}"
            request = Request(id=name, prompt_token_ids=tuple(prompt), params=params, seed=index)
            engine.add(request)
        waiting, first_s, num_tokens = len(prompts), 0.0, 0
        while engine.has_work:
            for output in engine.step():
                num_tokens += len(output.token_ids)
                if waiting and output.token_ids:
                    waiting -= 1
                    first_s = time.perf_counter() - started_s
        pipe.send((time.perf_counter() - started_s, num_tokens, first_s))


def client_worker(pipe: Any, port: int) -> None:
    while True:
        prompts, generate = pipe.recv()
        pipe.send(asyncio.run(all_clients(port, prompts, generate)))


async def all_clients(
    port: int, prompts: list[list[int]], generate: int
) -> tuple[float, int, float]:
    started_s = time.perf_counter()
    clients = [one_client(port, i, prompt, generate) for i, prompt in enumerate(prompts)]
    found = await asyncio.gather(*clients)
    first_s = max(first for first, _ in found) - started_s
    return time.perf_counter() - started_s, sum(tokens for _, tokens in found), first_s


async def one_client(port: int, seed: int, prompt: list[int], generate: int) -> tuple[float, int]:
    """The time of the first token, and the number of tokens. Reads bytes as they come, parses no
    JSON."""
    body = json.dumps(
        {
            "model": "m",
            "prompt": prompt,
            "max_tokens": generate,
            "ignore_eos": True,
            "seed": seed,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    first_s, tail = 0.0, b""
    while b"[DONE]" not in tail:
        chunk = await reader.read(1 << 16)
        if not chunk:
            raise RuntimeError(f"the stream broke off: {tail!r}")
        if not first_s and b"data:" in chunk:
            first_s = time.perf_counter()
        tail = (tail + chunk)[-1024:]
    writer.close()
    found = re.findall(rb'"completion_tokens":(\d+)', tail)
    if not found:
        raise RuntimeError(f"no usage in {tail!r}")
    return first_s, int(found[-1])


@contextmanager
def worker(target: Any, *arguments: Any) -> Iterator[Any]:
    """A process that answers jobs over a pipe."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=target, args=(theirs, *arguments))
    process.start()
    theirs.close()
    try:
        yield ours
    finally:
        process.terminate()
        process.join()


@contextmanager
def server(folder: str, options: dict[str, Any]) -> Iterator[int]:
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, folder, repr(options)], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    line = process.stdout.readline().decode()
    found = re.search(r":(\d+)$", line.strip())
    if not found:
        raise SystemExit("The server did not start.")
    try:
        yield int(found[1])
    finally:
        process.terminate()
        process.wait()


def ask(kind: str, pipe: Any, load: Load, run: int) -> Run:
    pipe.send((load.prompts(run), load.generate))
    seconds, tokens, first_s = pipe.recv()
    if tokens != load.clients * load.generate:
        raise SystemExit(f"{kind}: {tokens} tokens came, not {load.clients * load.generate}")
    return Run(kind, seconds, tokens, first_s)


@contextmanager
def with_tokenizer(folder: Path, vocab_size: int) -> Iterator[Path]:
    """The folder, or for a random checkpoint a copy of links with a tokenizer of made-up words."""
    if (folder / "tokenizer.json").exists():
        yield folder
        return
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*letters, *(f"Ġw{i:x}" for i in range(vocab_size - len(letters)))]
    tokenizer = Tokenizer(models.BPE({word: i for i, word in enumerate(words)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    with tempfile.TemporaryDirectory() as place:
        for file in folder.resolve().iterdir():
            (Path(place) / file.name).symlink_to(file)
        tokenizer.save(str(Path(place) / "tokenizer.json"))
        yield Path(place)


def measure(load: Load, arguments: argparse.Namespace) -> list[Run]:
    options = engine_options(load, arguments)
    with (
        with_tokenizer(arguments.model, load.vocab_size) as path,
        worker(offline_worker, str(path), options) as offline,
        server(str(path), options) as port,
        worker(client_worker, port) as served,
    ):
        offline.recv()
        runs = []
        for number in range(arguments.runs + 1):
            pair = [("offline", offline), ("served", served)]
            for kind, pipe in pair if number % 2 else reversed(pair):
                runs.append(ask(kind, pipe, load, number))
                print(runs[-1].line(), file=sys.stderr, flush=True)
        return runs[2:]  # the first pair warmed up


def summarise(load: Load, runs: list[Run]) -> dict[str, Any]:
    rates = {
        kind: [run.tokens_per_s for run in runs if run.kind == kind]
        for kind in ("offline", "served")
    }
    medians = {kind: statistics.median(values) for kind, values in rates.items()}
    return {
        "load": asdict(load),
        "cpus": os.cpu_count(),
        "runs": [{**asdict(run), "tokens_per_s": run.tokens_per_s} for run in runs],
        "tokens_per_s": medians,
        "ratio": medians["served"] / medians["offline"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--generate", type=int, default=128)
    parser.add_argument("--prompt", type=int, default=64)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--weights", default="auto", help="as of `unisono run`")
    parser.add_argument("--kv-memory", type=int, default=1024, help="MiB")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    config = json.loads((arguments.model / "config.json").read_text())
    load = Load(arguments.clients, arguments.prompt, arguments.generate, config["vocab_size"])
    found = summarise(load, measure(load, arguments))
    if arguments.json:
        print(json.dumps(found, indent=1))
        return
    print(f"median: offline {found['tokens_per_s']['offline']:.1f}, ", end="")
    print(f"served {found['tokens_per_s']['served']:.1f} tokens/s; ratio {found['ratio']:.3f}")


if __name__ == "__main__":
    main()
