"""The main program of a limited process: takes the limits upon itself, starts a program, answers.

Only the operating system can refuse memory or time that one expression asks for. Run as a script;
imports nothing but the standard library, and talks in frames over stdin and stdout: first a JSON
object with the limits and what the program is to know, then one frame for each request. A program
is a file with a function ``start``, which takes that object and gives a greeting and a function
from request to reply, or ``None`` where it cannot go on.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import struct
import sys
from collections.abc import Mapping
from typing import IO, Any


def read_frame(stream: IO[bytes]) -> bytes | None:
    """The next frame, ``None`` at the end of the stream."""
    header = stream.read(4)
    if len(header) < 4:
        return None
    (size,) = struct.unpack(">I", header)
    content = stream.read(size)
    return content if len(content) == size else None


def write_frame(stream: IO[bytes], content: bytes) -> None:
    """Sends the number of bytes (4 bytes, big-endian), then the bytes."""
    stream.write(struct.pack(">I", len(content)) + content)
    stream.flush()


def _serve(requests: IO[bytes], replies: IO[bytes]) -> None:
    first = read_frame(requests)
    if first is None:
        return
    hello: Mapping[str, Any] = json.loads(first)
    _limit_memory(hello["max_memory_bytes"])
    _set_cpu_alarm(hello["max_start_cpu_s"])
    greeting, answer = runpy.run_path(hello["program"])["start"](hello)
    _set_cpu_alarm(0)
    write_frame(replies, greeting)
    while answer is not None and (request := read_frame(requests)) is not None:
        _set_cpu_alarm(hello["max_cpu_s"] + len(request) * hello["cpu_s_per_byte"])
        reply = answer(request)
        _set_cpu_alarm(0)
        write_frame(replies, reply)


def _limit_memory(max_bytes: int) -> None:
    try:
        import resource
    except ImportError:  # not on this system: the time limit of the parent remains
        return
    for kind, limit in (("RLIMIT_AS", max_bytes), ("RLIMIT_FSIZE", 0), ("RLIMIT_CORE", 0)):
        try:
            resource.setrlimit(getattr(resource, kind), (limit, limit))
        except (AttributeError, ValueError, OSError):
            continue


def _set_cpu_alarm(seconds: float) -> None:
    """Ends this process when it has used so much CPU time; 0 takes the alarm back."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)


if __name__ == "__main__":
    try:
        _serve(sys.stdin.buffer, sys.stdout.buffer)
    except MemoryError:
        os._exit(1)
