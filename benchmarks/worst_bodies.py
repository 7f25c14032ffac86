"""Measures the cost of the worst request bodies, and how long they delay other requests.

Starts a server on the demo model, then sends bodies from four clients at once, all refused or hard
to tokenize, while another asks for ``/health`` again and again. Measured over ``/proc``: processor
time of all processes but the engine for each body, and the most memory they held beyond what they
held before. Other load on the machine shows in the times of ``/health``, not in processor time.

    python benchmarks/worst_bodies.py [--bodies 8] [--url http://127.0.0.1:8000 --pid PID]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from urllib.parse import urlsplit

from demo_server import demo_server

SIZE = 8 * 2**20 - 4096
NUM_CLIENTS = 4
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def chat(content: str) -> bytes:
    return json.dumps({"messages": [{"role": "user", "content": content}]}).encode()


def prompt(text: str) -> bytes:
    return json.dumps({"prompt": text}).encode()


BODIES: dict[str, tuple[str, bytes]] = {
    "8 MB of words": ("/v1/completions", prompt("word " * (SIZE // 5))),
    "8 MB of words, chat": ("/v1/chat/completions", chat("word " * (SIZE // 5))),
    "8 MB of one letter": ("/v1/completions", prompt("a" * SIZE)),
    "8 MB of blanks": ("/v1/completions", prompt(" " * SIZE)),
    "8 MB of signs": ("/v1/completions", prompt("'(" * (SIZE // 2))),
    "8 MB of digits, /tokenize": ("/tokenize", prompt("1" * SIZE)),
    "hard to cut, /tokenize": ("/tokenize", prompt("' \r\n\t " * 12_000)),
    "4 M token ids": ("/v1/completions", b'{"prompt": [' + b"1," * (SIZE // 2) + b"1]}"),
    "4 M token ids, /detokenize": ("/detokenize", b'{"tokens": [' + b"1," * (SIZE // 2) + b"1]}"),
    "nested lists": (
        "/v1/completions",
        b'{"prompt": ' + b"[" * (SIZE // 2) + b"]" * (SIZE // 2) + b"}",
    ),
    "empty lists": ("/v1/completions", b'{"prompt": [' + b"[]," * (SIZE // 3) + b"[]]}"),
    "65,536 messages": (
        "/v1/chat/completions",
        json.dumps({"messages": [{"role": "user", "content": "a"}] * 65536}).encode(),
    ),
    "16,000 messages": (
        "/v1/chat/completions",
        json.dumps({"messages": [{"role": "user", "content": "a"}] * 16000}).encode(),
    ),
    "1 M keys": ("/v1/completions", b"{" + b'"a":1,' * (SIZE // 6) + b'"b":1}'),
    "logit_bias of 600,000": (
        "/v1/completions",
        json.dumps({"prompt": "a", "logit_bias": {str(i): 1 for i in range(600_000)}}).encode(),
    ),
}


@dataclass
class Result:
    processor_s: list[float] = field(default_factory=list)
    health_s: list[float] = field(default_factory=list)
    more_bytes: int = 0
    statuses: set[int] = field(default_factory=set)


def processes(server: int) -> list[int]:
    """The server and all that descend from it, but for the engine."""
    found = [server]
    for children in Path(f"/proc/{server}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, children.read_text().split()):
                command = Path(f"/proc/{child}/cmdline").read_bytes()
                if b"unisono.server.engine.worker" not in command:
                    found += processes(child)
    return found


def processor_s(server: int) -> float:
    total = 0
    for pid in processes(server):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
    return total / _TICKS_PER_S


def resident_bytes(server: int) -> int:
    total = 0
    for pid in processes(server):
        with contextlib.suppress(OSError):
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return total * _PAGE_BYTES


def send(netloc: str, path: str, body: bytes) -> int:
    connection = HTTPConnection(netloc, timeout=120)
    try:
        connection.request("POST", path, body, {"content-type": "application/json"})
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


def ask_health(netloc: str, result: Result, stopped: threading.Event) -> None:
    connection = HTTPConnection(netloc, timeout=60)
    while not stopped.is_set():
        started_s = time.perf_counter()
        try:
            connection.request("GET", "/health")
            connection.getresponse().read()
        except (OSError, HTTPException):
            connection.close()
            continue
        result.health_s.append(time.perf_counter() - started_s)
        time.sleep(0.005)


def watch_memory(server: int, result: Result, stopped: threading.Event) -> None:
    before = resident_bytes(server)
    while not stopped.is_set():
        result.more_bytes = max(result.more_bytes, resident_bytes(server) - before)
        time.sleep(0.02)


def measure(netloc: str, server: int, path: str, body: bytes, num_bodies: int) -> Result:
    """Processor time of bodies sent one by one, then everyone at once beside ``/health``."""
    result = Result()
    result.statuses.add(send(netloc, path, body))  # whatever is started lazily has been
    with _beside(watch_memory, server, result):
        for _ in range(num_bodies):
            before_s = processor_s(server)
            result.statuses.add(send(netloc, path, body))
            result.processor_s.append(processor_s(server) - before_s)

    def client() -> None:
        for _ in range(num_bodies):
            result.statuses.add(send(netloc, path, body))

    with _beside(ask_health, netloc, result):
        clients = [threading.Thread(target=client) for _ in range(NUM_CLIENTS)]
        for one in clients:
            one.start()
        for one in clients:
            one.join()
    return result


@contextlib.contextmanager
def _beside(work: object, *arguments: object) -> Iterator[None]:
    stopped = threading.Event()
    thread = threading.Thread(target=work, args=(*arguments, stopped))  # type: ignore[arg-type]
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def report(name: str, result: Result) -> None:
    health_ms = [1000 * seconds for seconds in result.health_s] or [float("nan")]
    print(
        f"{name:28} {'/'.join(map(str, sorted(result.statuses))):>8}"
        f" {1000 * statistics.median(result.processor_s):8.0f} ms"
        f" {result.more_bytes / 2**20:8.1f} MiB"
        f" {statistics.median(health_ms):8.1f} {percentile(health_ms, 0.99):8.1f} ms",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bodies", type=int, default=8, help="of each kind and client")
    parser.add_argument("--url", help="a server that runs already; give its --pid too")
    parser.add_argument("--pid", type=int)
    options = parser.parse_args()
    print(
        f"{'body':28} {'status':>8} {'processor':>11} {'memory':>12} {'/health p50':>8} {'p99':>8}"
    )
    with contextlib.ExitStack() as stack:
        if options.url:
            netloc, pid = urlsplit(options.url).netloc, options.pid
        else:
            netloc, process = stack.enter_context(demo_server())
            pid = process.pid
        every = Result()
        for name, (path, body) in BODIES.items():
            result = measure(netloc, pid, path, body, options.bodies)
            every.processor_s += result.processor_s
            every.health_s += result.health_s
            every.more_bytes = max(every.more_bytes, result.more_bytes)
            every.statuses |= result.statuses
            report(name, result)
        report("all", every)


if __name__ == "__main__":
    main()
