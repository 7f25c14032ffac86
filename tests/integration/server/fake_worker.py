"""An engine process over the echo engine; the name of the model folder says how it misbehaves."""

from __future__ import annotations

import os
import socket
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[3]))

from tests.unit.server.server_fakes import EchoEngine, build_echo
from unisono.core import EngineConfig
from unisono.core.errors import CheckpointError
from unisono.core.parent import serve_parent
from unisono.server.engine.worker import run


class SlowEcho(EchoEngine):
    def step(self) -> Any:
        time.sleep(0.05)
        return super().step()


class HangingEcho(EchoEngine):
    def step(self) -> Any:
        time.sleep(3600)
        return []


class ComputingEcho(EchoEngine):
    """Its first step takes its time."""

    num_steps = 0

    def step(self) -> Any:
        self.num_steps += 1
        if self.num_steps == 1:
            compute(2.5)
        return super().step()


class SpinningEcho(EchoEngine):
    """Its second step computes and computes."""

    num_steps = 0

    def step(self) -> Any:
        self.num_steps += 1
        if self.num_steps == 2:
            compute(60)
        return super().step()


def compute(seconds: float) -> None:
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        sum(range(1000))


class CrashingEcho(EchoEngine):
    def step(self) -> Any:
        raise RuntimeError("a bug")


def build(sock: socket.socket, folder: Path, config: EngineConfig, vocabulary: object) -> Any:
    match folder.name:
        case "broken":
            raise CheckpointError("The shard is truncated.", hint="Fetch it again.")
        case "bug":
            raise ZeroDivisionError
        case "killed":
            os.kill(os.getpid(), 9)
        case "slow":
            return SlowEcho()
        case "hanging":
            return HangingEcho()
        case "computing":
            return ComputingEcho()
        case "spinning":
            return SpinningEcho()
        case "crashing":
            return CrashingEcho()
        case "babbling":
            sock.sendall(b"this is no frame at all")
    return build_echo(folder, config, vocabulary)


sys.exit(serve_parent(lambda sock: run(sock, partial(build, sock)), leave_s=5.0))
