"""Has the shape of large bodies checked elsewhere.

Knows the processes that do it (``shape_process``): starts them, asks them, replaces one that died.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

from unisono.core.errors import UnisonoError
from unisono.server.api_error import ApiError, bad_request
from unisono.server.http.body_shape import ShapeLimits, check_shape
from unisono.server.http.shape_process import HEAD, REPLY

__all__ = ["ShapeChecker"]

_INLINE_BYTES = 64 * 2**10
_NUM_PROCESSES = 2
_COMMAND = (sys.executable, "-m", "unisono.server.http.shape_process")
_TIMEOUT_S = 30.0


class ShapeChecker:
    """Few processes, started when they are first needed; a small body is looked at here."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_NUM_PROCESSES, thread_name_prefix="body")
        self._idle: queue.SimpleQueue[subprocess.Popen[bytes] | None] = queue.SimpleQueue()
        for _ in range(_NUM_PROCESSES):
            self._idle.put(None)

    async def check(self, body: bytes, limits: ShapeLimits) -> None:
        """Raises:
        ApiError: as ``check_shape`` says, or 503 where the process dies over it twice.
        """
        if len(body) <= _INLINE_BYTES:
            check_shape(body, limits)
            return
        loop = asyncio.get_running_loop()
        if reply := await loop.run_in_executor(self._threads, self._ask, body, limits):
            code, _, message = reply.decode().partition("\n")
            raise bad_request(message, code=code)

    def close(self) -> None:
        """Ends the processes; nothing is to be asked any more."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        while not self._idle.empty():
            if (process := self._idle.get()) is not None:
                _end(process)

    def _ask(self, body: bytes, limits: ShapeLimits) -> bytes:
        process = self._idle.get()
        try:
            for _ in range(2):
                if process is None:
                    process = _start()
                reply = _exchange(process, body, limits)
                if reply is not None:
                    return reply
                _end(process)
                process = None
        finally:
            self._idle.put(process)
        raise _no_checker()


def _no_checker() -> ApiError:
    message = "The process that checks request bodies ended twice over this one. Try again later."
    return ApiError(503, message, code="body_check_failed", retry_after_s=5)


def _start() -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            _COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # an interrupt from the keyboard is not for it
        )
    except OSError as error:
        raise UnisonoError("The process that checks request bodies does not start.") from error


def _exchange(process: subprocess.Popen[bytes], body: bytes, limits: ShapeLimits) -> bytes | None:
    """The reply, or ``None`` where the process ends or takes too long."""
    assert process.stdin is not None
    assert process.stdout is not None
    alarm = threading.Timer(_TIMEOUT_S, process.kill)
    alarm.daemon = True
    alarm.start()
    try:
        process.stdin.write(HEAD.pack(len(body), limits.depth, limits.context))
        process.stdin.write(body)
        process.stdin.flush()
        head = process.stdout.read(REPLY.size)
        if len(head) < REPLY.size:
            return None
        (size,) = REPLY.unpack(head)
        reply = process.stdout.read(size)
        return reply if len(reply) == size else None
    except OSError:
        return None
    finally:
        alarm.cancel()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    process.wait()
