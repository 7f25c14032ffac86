"""Limits the bytes of request bodies that the server holds at one time.

Knows sizes and tenants; nothing of HTTP. Bytes count as they arrive, not as they are announced.
Where there is no more room, the body that has been arriving for longest gives way, of the tenant
that holds most: a slow client cannot keep others out.
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["BodyAccount", "BodyBudget"]


class BodyBudget:
    """Args:
    max_bytes: of all bodies together.
    """

    def __init__(self, max_bytes: int) -> None:
        self.num_bytes = 0
        self._max_bytes = max_bytes
        self._open: dict[BodyAccount, None] = {}

    def account(self, tenant: str) -> BodyAccount:
        found = BodyAccount(self, tenant)
        self._open[found] = None
        return found

    def take(self, account: BodyAccount, num_bytes: int) -> bool:
        """True where there is room for so many more, if need be in place of others."""
        if account not in self._open:
            return False
        while self.num_bytes + num_bytes > self._max_bytes:
            victim = self._slowest(account)
            if victim is None:
                return False
            victim.drop()
        self.num_bytes += num_bytes
        account.num_bytes += num_bytes
        return True

    def forget(self, account: BodyAccount) -> None:
        if account in self._open:
            del self._open[account]
            self.num_bytes -= account.num_bytes

    def _slowest(self, asking: BodyAccount) -> BodyAccount | None:
        """The body to give way, unless it is the one that asks."""
        arriving = [one for one in self._open if one.drop_body is not None]
        held: dict[str, int] = {}
        for one in self._open:
            held[one.tenant] = held.get(one.tenant, 0) + one.num_bytes
        most = max((held[one.tenant] for one in arriving), default=0)
        for one in arriving:
            if held[one.tenant] == most and one.num_bytes:
                return None if one is asking else one
        return None


class BodyAccount:
    """One body: from its first byte until it is no longer needed.

    ``drop_body`` ends its arrival; ``None`` once it is complete.
    """

    def __init__(self, budget: BodyBudget, tenant: str) -> None:
        self.tenant = tenant
        self.num_bytes = 0
        self.was_dropped = False
        self.drop_body: Callable[[], object] | None = None
        self._budget = budget

    def take(self, num_bytes: int) -> bool:
        return self._budget.take(self, num_bytes)

    def drop(self) -> None:
        """It gives way to another."""
        self.was_dropped = True
        self.close()
        if self.drop_body is not None:
            self.drop_body()

    def close(self) -> None:
        """Its bytes are gone; safe to call twice."""
        self._budget.forget(self)
