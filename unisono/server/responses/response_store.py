"""Responses that are kept for later turns: by tenant, bounded, in memory or in a file.

Knows records and who owns them; nothing of their content or of HTTP.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class StoreLimits:
    """Bounds of a store. Beyond them the tenant that holds most loses what it has used least
    recently: nobody can push out another's by filling the store."""

    records: int = 10_000
    num_bytes: int = 256 * 2**20


class ResponseStore(Protocol):
    """A tenant's records by id: none sees another's."""

    async def get(self, tenant: str, name: str) -> bytes | None:
        """The record, which is then the most recently used; ``None`` if there is none."""

    async def put(self, tenant: str, name: str, record: bytes) -> bool:
        """Returns whether there is room for it at all."""

    async def delete(self, tenant: str, name: str) -> bool:
        """Returns whether there was one."""

    def close(self) -> None: ...


class MemoryStore:
    """Keeps records until the process ends."""

    def __init__(self, limits: StoreLimits) -> None:
        self._limits = limits
        self._tenants: defaultdict[str, OrderedDict[str, bytes]] = defaultdict(OrderedDict)
        self._num_bytes: defaultdict[str, int] = defaultdict(int)

    async def get(self, tenant: str, name: str) -> bytes | None:
        records = self._tenants.get(tenant)
        if records is None or name not in records:
            return None
        records.move_to_end(name)
        return records[name]

    async def put(self, tenant: str, name: str, record: bytes) -> bool:
        if len(record) > self._limits.num_bytes:
            return False
        await self.delete(tenant, name)
        self._tenants[tenant][name] = record
        self._num_bytes[tenant] += len(record)
        while self._is_over():
            largest = max(self._num_bytes, key=self._num_bytes.__getitem__)
            _, dropped = self._tenants[largest].popitem(last=False)
            self._forget(largest, len(dropped))
        return True

    async def delete(self, tenant: str, name: str) -> bool:
        record = self._tenants.get(tenant, OrderedDict()).pop(name, None)
        if record is not None:
            self._forget(tenant, len(record))
        return record is not None

    def close(self) -> None:
        self._tenants.clear()

    def _is_over(self) -> bool:
        num_records = sum(map(len, self._tenants.values()))
        num_bytes = sum(self._num_bytes.values())
        return num_records > self._limits.records or num_bytes > self._limits.num_bytes

    def _forget(self, tenant: str, num_bytes: int) -> None:
        self._num_bytes[tenant] -= num_bytes
        if not self._tenants[tenant]:
            del self._tenants[tenant], self._num_bytes[tenant]
