"""Chooses who is served next, so that tenants share the engine.

Virtual token counters (Sheng et al., "Fairness in Serving Large Language Models", OSDI 2024): each
tenant has a counter of the service it got, and the one with the least goes first. While two tenants
both have requests waiting, their service differs by no more than a bound that does not grow. A
tenant that was away comes back at the level of those who stayed: nobody saves up, nobody is owed.
Priorities order the requests of one tenant and nothing else.

Pure: no torch, no clock.
"""

from __future__ import annotations

import heapq
from collections import Counter

from unisono.engine.sequence import Sequence

READ_COST = 1
"""Cost of a token that is computed: of the prompt, or of the answer when it is read back."""
WRITE_COST = 1
"""Added cost of a token that is generated; so an answer's token costs twice a prompt's."""

Order = tuple[int, int, int, int]


class FairQueue:
    """The requests that wait, and how much each tenant has been served."""

    def __init__(self) -> None:
        self._heaps: dict[str, list[tuple[tuple[int, int], str]]] = {}
        self._service: Counter[str] = Counter()
        self._number: dict[str, int] = {}
        """Tenants in the order in which they first came, which decides between equals."""
        self._level = 0
        """Service of the tenant that was the last to have a request taken out."""

    def __len__(self) -> int:
        return sum(len(heap) for heap in self._heaps.values())

    def num_waiting(self, tenant: str) -> int:
        return len(self._heaps.get(tenant, ()))

    def num_tenants(self, besides: str) -> int:
        """Tenants that wait, ``besides`` among them in any case."""
        return len(self._heaps.keys() | {besides})

    def order(self, sequence: Sequence) -> Order:
        """The smaller goes first."""
        return (*self._tenant_order(sequence.tenant), *sequence.rank)

    def _tenant_order(self, tenant: str) -> tuple[int, int]:
        return self._service[tenant], self._number[tenant]

    def charge(self, tenant: str, cost: int) -> None:
        self._service[tenant] += cost

    def push(self, sequence: Sequence) -> None:
        tenant = sequence.tenant
        if tenant not in self._heaps:
            level = min((self._service[other] for other in self._heaps), default=self._level)
            self._service[tenant] = max(self._service[tenant], level)
            self._number.setdefault(tenant, len(self._number))
            self._heaps[tenant] = []
        heapq.heappush(self._heaps[tenant], (sequence.rank, sequence.id))

    def first(self) -> str | None:
        """Id of the request whose turn it is: of the tenant served least, its own first."""
        if not self._heaps:
            return None
        heap = self._heaps[min(self._heaps, key=self._tenant_order)]
        return heap[0][1]

    def remove(self, sequence: Sequence) -> None:
        heap = self._heaps[sequence.tenant]
        if heap[0][1] == sequence.id:
            heapq.heappop(heap)
        else:
            heap.remove((sequence.rank, sequence.id))
            heapq.heapify(heap)
        if not heap:
            del self._heaps[sequence.tenant]
            self._level = self._service[sequence.tenant]
