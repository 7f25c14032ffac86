"""The process of one rank: a part of the model, a socket to rank 0, one loop.

It ends when the other side of the socket goes away, and only then: signals that stop a server or a
program are rank 0's to answer.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import socket
import sys
import time

from unisono.core import errors
from unisono.core.codec import ProtocolError
from unisono.core.frames import Link
from unisono.core.parent import has_hung_up, serve_parent
from unisono.engine.building import Part
from unisono.engine.ranks.runner import FollowingRunner
from unisono.engine.ranks.wire import (
    TO_RANK,
    DropAdapter,
    Failed,
    LoadAdapter,
    Loaded,
    Ready,
    Start,
    Step,
)
from unisono.hardware.discovery import find_hardware
from unisono.hardware.ranks.rendezvous import join_group
from unisono.models.parallel import Shard

_LEAVE_S = 1.0
"""For the loop to end by itself once rank 0 has gone, before the process is ended."""
_log = logging.getLogger("unisono.engine.ranks.rank")


def run(sock: socket.socket) -> int:
    """Serves one connection until it closes; returns the exit status of the process."""
    link = Link(sock, *TO_RANK)
    start = link.receive_one()
    if start is None:
        return 0
    if not isinstance(start, Start):
        raise ProtocolError("the first message is not a start message")
    owned = contextlib.ExitStack()
    owned.callback(shutil.rmtree, start.meeting_place, ignore_errors=True)
    try:
        _follow(link, _build(link, start, owned))
    except Exception as error:
        if has_hung_up(sock):
            return 0  # rank 0 has gone in the middle of a step
        if not isinstance(error, errors.UnisonoError):
            _log.exception("Rank %d failed.", start.rank)
            error = errors.UnisonoError(f"{type(error).__name__}: {error}")
        link.send(Failed(error, time.monotonic()))
        return 1
    finally:
        owned.close()
    return 0


def _build(link: Link, start: Start, owned: contextlib.ExitStack) -> FollowingRunner:
    config = start.config
    hardware = find_hardware(start.device)
    shard = Shard(rank=start.rank, size=config.tensor_parallel)
    part = Part.load(start.folder, config, hardware, shard)
    link.send(Loaded())
    group = join_group(hardware, start.meeting_place, rank=shard.rank, size=shard.size)
    owned.callback(group.leave)
    part = part.connect(group)
    runner = part.runner(FollowingRunner)
    link.send(Ready())
    return runner


def _follow(link: Link, runner: FollowingRunner) -> None:
    while (message := link.receive_one()) is not None:
        match message:
            case Step():
                runner.follow(message)
            case LoadAdapter(key, folder):
                runner.load_adapter(key, folder)
            case DropAdapter(key):
                runner.drop_adapter(key)
            case _:
                raise ProtocolError("the rank has been started already")


def main(arguments: list[str] | None = None) -> int:
    """``python -m unisono.engine.ranks.rank --fd N``: N is an inherited, connected Unix socket."""
    return serve_parent(run, leave_s=_LEAVE_S, arguments=arguments)


if __name__ == "__main__":
    sys.exit(main())
