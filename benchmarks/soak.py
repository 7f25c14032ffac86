"""Kills the engine again and again under load: no wrong token, no memory that grows.

Starts a server on the demo model. Clients stream completions whose answers are known: each request
has a seed, and its answer was recorded from the same server before anything was killed. A stream
that breaks off must have said the beginning of its answer, one that ends must have said all of it.
Some clients leave in the middle. Resident memory of server and engine is taken all along; the
median of the last third is compared with that of the second, once everything is warm.

    python benchmarks/soak.py --minutes 30 --kills 108

Ends with 1 where a token was wrong, a request failed otherwise than by a kill, the server died, or
memory grew by more than 5 %.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path

from demo_server import demo_server

NUM_CLIENTS = 6
NUM_ANSWERS = 24
MAX_TOKENS = 60
GROWTH = 0.05
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_KILLED = frozenset({"engine_died", "engine_restarting"})


def request_of(number: int) -> dict[str, object]:
    """Every one another prompt, seed and temperature; some greedy."""
    return {
        "prompt": f"Once upon a time, number {number},",
        "seed": number,
        "temperature": (number % 4) * 0.5,
        "max_tokens": MAX_TOKENS,
        "ignore_eos": True,
        "stream": True,
        "return_token_ids": True,
    }


@dataclass
class Answer:
    token_ids: list[int] = field(default_factory=list)
    is_complete: bool = False
    error: str | None = None


def stream(netloc: str, number: int, leave_after: int | None = None) -> Answer:
    """One request; leaves after so many events."""
    answer = Answer()
    connection = HTTPConnection(netloc, timeout=120)
    try:
        connection.request("POST", "/v1/completions", json.dumps(request_of(number)))
        response = connection.getresponse()
        if response.status != 200:
            answer.error = json.loads(response.read())["error"]["code"]
            return answer
        for count, event in enumerate(_events(response)):
            if "error" in event:
                answer.error = event["error"]["code"]
                return answer
            for choice in event["choices"]:
                answer.token_ids += choice.get("token_ids") or ()
                answer.is_complete = answer.is_complete or bool(choice["finish_reason"])
            if leave_after is not None and count >= leave_after:
                return answer
    finally:
        connection.close()
    return answer


def _events(response: HTTPResponse) -> Iterator[dict]:
    for line in response:
        if line.startswith(b"data: {"):
            yield json.loads(line.removeprefix(b"data: "))


class Soak:
    def __init__(self, netloc: str, server: int, seed: int) -> None:
        self.netloc = netloc
        self.server = server
        self.counts: Counter[str] = Counter()
        self.problems: list[str] = []
        self.memory: dict[str, list[tuple[float, int]]] = {"server": [], "engine": []}
        self.stopped = threading.Event()
        self._random = random.Random(seed)
        self._known = [stream(netloc, number).token_ids for number in range(NUM_ANSWERS)]
        for number, token_ids in enumerate(self._known):
            if len(token_ids) != MAX_TOKENS:
                self.problems.append(f"answer {number} has {len(token_ids)} tokens")

    def client(self, seed: int) -> None:
        choices = random.Random(seed)
        while not self.stopped.is_set():
            number = choices.randrange(NUM_ANSWERS)
            leave_after = choices.randrange(20) if choices.random() < 0.15 else None
            try:
                self._judge(number, stream(self.netloc, number, leave_after), leave_after)
            except (OSError, HTTPException) as error:
                if not self.stopped.is_set():
                    self.problems.append(f"the connection broke: {type(error).__name__}")

    def _judge(self, number: int, answer: Answer, leave_after: int | None) -> None:
        known = self._known[number]
        self.counts["tokens"] += len(answer.token_ids)
        if answer.token_ids != known[: len(answer.token_ids)]:
            self.problems.append(f"wrong tokens in answer {number}")
        elif answer.error in _KILLED:
            self.counts["broken off by a kill"] += 1
        elif answer.error:
            self.problems.append(f"answer {number} failed: {answer.error}")
        elif leave_after is not None:
            self.counts["left by the client"] += 1
        elif len(answer.token_ids) != len(known) or not answer.is_complete:
            self.problems.append(f"answer {number} ended early")
        else:
            self.counts["complete"] += 1

    def kill_engines(self, kills: int, seconds: float) -> None:
        """At random moments, about evenly over the time."""
        for _ in range(kills):
            pause_s = self._random.uniform(0.5, 1.5) * seconds / (kills + 1)
            if self.stopped.wait(pause_s):
                return
            if pid := self.engine():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    self.counts["kills"] += 1

    def engine(self) -> int | None:
        for children in Path(f"/proc/{self.server}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                for child in children.read_text().split():
                    command = Path(f"/proc/{child}/cmdline").read_bytes()
                    if b"unisono.server.engine.worker" in command:
                        return int(child)
        return None

    def watch_memory(self) -> None:
        while not self.stopped.wait(1):
            for name, pid in (("server", self.server), ("engine", self.engine())):
                with contextlib.suppress(OSError, IndexError):
                    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
                    self.memory[name].append((time.monotonic(), pages * _PAGE_BYTES))

    def growth(self, name: str) -> float:
        """Growth: the median of the last third over that of the second.

        An engine that is just starting has little memory yet and does not count.
        """
        sizes = [size for _, size in self.memory[name]]
        third = len(sizes) // 3
        middle, last = sizes[third : 2 * third], sizes[2 * third :]
        if not middle:
            return 0.0
        return statistics.median(last) / statistics.median(middle) - 1


def run(soak: Soak, seconds: float, kills: int) -> None:
    work = [
        *(threading.Thread(target=soak.client, args=(seed,)) for seed in range(NUM_CLIENTS)),
        threading.Thread(target=soak.kill_engines, args=(kills, seconds)),
        threading.Thread(target=soak.watch_memory),
    ]
    for thread in work:
        thread.start()
    deadline_s = time.monotonic() + seconds
    while time.monotonic() < deadline_s and not soak.problems:
        time.sleep(0.5)
    soak.stopped.set()
    for thread in work:
        thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--kills", type=int, default=108)
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    options = parser.parse_args()
    with demo_server() as (netloc, process):
        soak = Soak(netloc, process.pid, options.seed)
        run(soak, 60 * options.minutes, options.kills)
        if process.poll() is not None:
            soak.problems.append(f"the server ended with {process.returncode}")
    for name in soak.memory:
        growth = soak.growth(name)
        print(f"memory of the {name}: {growth:+.1%}")
        if growth > GROWTH:
            soak.problems.append(f"the memory of the {name} grew by {growth:.1%}")
    for name, count in sorted(soak.counts.items()):
        print(f"{count} {name}")
    for problem in dict.fromkeys(soak.problems):
        print(f"wrong: {problem}")
    sys.exit(bool(soak.problems))


if __name__ == "__main__":
    main()
