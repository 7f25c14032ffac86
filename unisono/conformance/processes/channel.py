"""JSON lines from the child to its parent, over a pipe that nothing else writes to.

A plugin may print what it likes: the channel has a file descriptor of its own.
"""

from __future__ import annotations

import json
import os
import selectors
import time
from collections.abc import Iterator
from typing import Any


class Writer:
    """The child's end."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        os.set_inheritable(fd, False)

    def send(self, event: str, **fields: Any) -> None:
        data = json.dumps({"event": event, **fields}).encode() + b"\n"
        while data:
            data = data[os.write(self._fd, data) :]


class Reader:
    """The parent's end."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._buffer = b""
        self._selector = selectors.DefaultSelector()
        self._selector.register(fd, selectors.EVENT_READ)

    def events(self, deadline: Any) -> Iterator[dict[str, Any] | None]:
        """Events as they come; ends with the child; None when ``deadline()`` has passed."""
        while True:
            *lines, self._buffer = self._buffer.split(b"\n")
            for line in lines:
                yield json.loads(line)
            left = deadline() - time.monotonic()
            if left <= 0 or not self._selector.select(left):
                yield None
                continue
            data = os.read(self._fd, 1 << 16)
            if not data:
                return
            self._buffer += data

    def close(self) -> None:
        self._selector.close()
        os.close(self._fd)
