"""Limits in memory: the part of the store in memory that shares out slots among the runtimes of one process."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from headrace._model.slots import Claim, Lease, Limit, asked_for, concluded


class MemoryLimits:
    """Keeps limits and claims in dicts."""

    def __init__(self) -> None:
        self.known: dict[str, Limit] = {}
        self.rested: dict[str, str | None] = {}
        self.claimed: dict[str, dict[str, Claim]] = {}

    async def define(self, limit: Limit) -> bool:
        """Keep *limit*."""
        new = limit.name not in self.known
        self.known[limit.name] = limit
        return new

    async def remove(self, name: str) -> bool:
        """Forget a limit. What is in use stays known, should it be there again in a moment."""
        self.rested.pop(name, None)
        return self.known.pop(name, None) is not None

    async def listed(self, names: Collection[str] | None = None) -> list[Limit]:
        """List limits."""
        return [limit for name, limit in sorted(self.known.items()) if names is None or name in names]

    async def claims(self, name: str | None = None) -> list[Claim]:
        """List the claims on a limit, or on all."""
        names = sorted(self.claimed) if name is None else [name]
        return [claim for one in names for _, claim in sorted(self.claimed.get(one, {}).items())]

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
        name = mine.name
        limit = asked_for(mine) or self.known.get(name)
        claims = self.claimed.setdefault(name, {})
        found = concluded(limit, self.rested.get(name), list(claims.values()), mine, now, mark, dead)
        for owner in (*found.gone, mine.owner):
            claims.pop(owner, None)
        if found.claim is not None:
            claims[mine.owner] = found.claim
        self.rested[name] = found.rested
        if not claims and limit is None:
            del self.claimed[name], self.rested[name]
        return found.lease
