"""The adapters that a server's engine holds, and every engine that replaces it.

Knows names, folders and the link to the engine; nothing of HTTP.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from unisono.core import errors
from unisono.server.engine.link import EngineLink
from unisono.server.engine.wire import LoadAdapter, RemoveAdapter

_log = logging.getLogger("unisono.server.engine")


@dataclass(frozen=True, slots=True)
class ServedAdapter:
    folder: Path
    created_s: int = field(default_factory=lambda: int(time.time()))


class ServedAdapters:
    """Adapters by name; one change at a time.

    Args:
        wanted: folders of those that an engine has from the start on.
    """

    def __init__(self, wanted: Mapping[str, Path]) -> None:
        self._adapters = {name: ServedAdapter(folder) for name, folder in wanted.items()}
        self._lock = asyncio.Lock()
        self._has_begun = False

    def __contains__(self, name: object) -> bool:
        return name in self._adapters

    def __getitem__(self, name: str) -> ServedAdapter:
        return self._adapters[name]

    @property
    def names(self) -> list[str]:
        return list(self._adapters)

    async def load(self, link: EngineLink, name: str, folder: Path) -> None:
        """Raises:
        AdapterError: the engine cannot load it.
        EngineDeadError: the engine died.
        """
        # A client that leaves does not leave the engine with one that nobody knows of.
        await asyncio.shield(asyncio.ensure_future(self._load(link, name, folder)))

    async def _load(self, link: EngineLink, name: str, folder: Path) -> None:
        async with self._lock:
            await link.ask(LoadAdapter(link.next_number(), name, folder))
            self._adapters[name] = ServedAdapter(folder)

    async def remove(self, link: EngineLink, name: str) -> None:
        """Nobody finds it from now on, whatever the engine says.

        Raises:
            AdapterError: there is none of that name.
        """
        await asyncio.shield(asyncio.ensure_future(self._remove(link, name)))

    async def _remove(self, link: EngineLink, name: str) -> None:
        async with self._lock:
            self._adapters.pop(name, None)
            await link.ask(RemoveAdapter(link.next_number(), name))

    async def restore(self, link: EngineLink) -> None:
        """Give a new engine what there is. One that has become unreadable since is dropped.

        Raises:
            AdapterError: the first engine cannot load one.
        """
        async with self._lock:
            for name, adapter in list(self._adapters.items()):
                try:
                    await link.ask(LoadAdapter(link.next_number(), name, adapter.folder))
                except (errors.ModelError, errors.HardwareError) as error:
                    if not self._has_begun:
                        raise
                    _log.error("Adapter %s is not loaded again: %s", name, error)
                    del self._adapters[name]
            self._has_begun = True
