"""Limits in memory: the part of the store in memory that shares out slots among the runtimes of one process."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import attrs

from headrace._model.slots import Claim, Lease, Limit, asked_for, leased


class MemoryLimits:
    """Keeps limits and claims in dicts."""

    def __init__(self) -> None:
        self.known: dict[str, Limit] = {}
        self.rested: dict[str, str] = {}
        self.claimed: dict[str, dict[str, Claim]] = {}

    async def define(self, limit: Limit) -> bool:
        """Keep *limit*."""
        new = limit.name not in self.known
        self.known[limit.name] = limit
        return new

    async def remove(self, name: str) -> bool:
        """Forget a limit."""
        self.claimed.pop(name, None)
        self.rested.pop(name, None)
        return self.known.pop(name, None) is not None

    async def listed(self, names: Collection[str] | None = None) -> list[Limit]:
        """List limits."""
        return [limit for name, limit in sorted(self.known.items()) if names is None or name in names]

    async def claims(self, name: str) -> list[Claim]:
        """List the claims on a limit."""
        return [claim for _, claim in sorted(self.claimed.get(name, {}).items())]

    async def reset(self, name: str) -> int:
        """Take all slots back."""
        return sum(claim.held for claim in self.claimed.pop(name, {}).values())

    async def settle(
        self, asks: Sequence[Claim], now: int, mark: str, dead: Callable[[Claim], bool]
    ) -> dict[str, Lease]:
        """Lease what is due."""
        return {mine.name: self.settle_one(mine, now, mark, dead) for mine in asks}

    def settle_one(self, mine: Claim, now: int, mark: str, dead: Callable[[Claim], bool]) -> Lease:
        """Lease what is due of one limit."""
        limit = asked_for(mine) or self.known.get(mine.name)
        if limit is None:
            return Lease(None)
        claims = self.claimed.setdefault(mine.name, {})
        for claim in [claim for claim in claims.values() if claim.owner != mine.owner and dead(claim)]:
            del claims[claim.owner]
            self.rested[mine.name] = mark
        lease, came_free = leased(limit, self.rested.get(mine.name), list(claims.values()), mine, now, mark)
        if came_free:
            self.rested[mine.name] = mark
        if lease.held or mine.wanted:
            claims[mine.owner] = attrs.evolve(mine, held=lease.held)
        else:
            claims.pop(mine.owner, None)
        return lease
