"""
Slots: the arithmetic of limits. How the slots of a limit are shared out among the processes that want some; pure.

Each process leases a block of slots and hands them out to its own runs. What it may lease follows from what all of
them say that they want: who reads the same claims in the same half second works out the same shares.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import attrs

TURN: Final = 500_000_000  # nanoseconds for which the slots that do not divide evenly stay where they are
PATIENCE: Final = 500_000_000  # nanoseconds that somebody waits for several slots before others make room
SCATTER: Final = 0x9E3779B1


@attrs.frozen
class Limit:
    """
    At most so many at once, or so many a second.

    Attributes:
        slots: How many there are, from 0; of a rate, how many may come at once after a quiet time.
        decay: How many come free a second by themselves: that makes it a rate. None: none does.
        active: Whether it limits anything just now.
    """

    name: str
    slots: int
    decay: float | None = None
    active: bool = True


@attrs.frozen
class Claim:
    """
    What one process has, and wants, of one limit.

    Attributes:
        name: The limit's.
        held: The slots leased to it; `used` of them are in use.
        wanted: How many it has a use for: those in use, and those that its runs wait for.
        need: How many it must hold for the first that waits, where that has done so for PATIENCE; else 0.
        since: When that one began to wait, in nanoseconds since 1970.
        beat: Changes each time the process says that it goes on.
        shown: Who holds and who waits, as JSON, for people.
        size: The slots of a limit that is there only while somebody asks for it: of one key. None: it was defined.
        kept: Those that it may hand out while it asks: what is beyond them, and not in use, it gives back.
        tokens: Of a rate, how many of those that it gives back may be used at once.
    """

    name: str
    owner: str
    held: int = 0
    used: int = 0
    wanted: int = 0
    need: int = 0
    since: int = 0
    beat: int = 0
    shown: str = ""
    size: int | None = None
    kept: int = 0
    tokens: float = 0.0


@attrs.frozen
class Lease:
    """
    What a process gets to hear of a limit.

    Attributes:
        limit: None where there is none of that name.
        held: The slots it has from now on.
        share: Those that are its due, and not others' yet; what it has beyond goes back as soon as it is not in use.
        fresh: Of slots that are new to it, how many a rate may use at once.
    """

    limit: Limit | None
    held: int = 0
    share: int = 0
    fresh: float = 0.0


def settled(limit: Limit, others: Sequence[Claim], mine: Claim, held: int, now: int) -> tuple[int, int]:
    """
    Give how many slots the process that says *mine* has from now on, and how many it may hand out.

    What it may hand out before it hears of this, it keeps: a slot is somebody else's only once it was given back.

    Args:
        others: What the other processes have and want.
        held: What it had until now.
    """
    free = max(0, limit.slots - sum(claim.held for claim in others))
    turn = now // TURN
    if limit.decay is not None:  # in no order, for what refills in step with the turns would always be the same one's
        turn = turn * SCATTER >> 12
    share = shares(limit.slots, [*others, mine], turn).get(mine.owner, 0)
    return max(min(share, free), min(max(mine.used, mine.kept), held)), min(share, free)


def leased(
    limit: Limit | None, rested: str | None, claims: Sequence[Claim], mine: Claim, now: int, mark: str
) -> tuple[Lease, str | None]:
    """
    Give what the process that says *mine* has from now on, and since when the slots of a rate rest that nobody has.

    Args:
        rested: Since when they did until now, as a mark; None where they were never used.
        claims: What the processes have and want, this one's as it was until now among them.
        now: In nanoseconds, on a clock that all of them read alike.
        mark: Of this moment.
    """
    if limit is None:
        return Lease(None), rested
    others = [claim for claim in claims if claim.owner != mine.owner]
    held = sum(claim.held for claim in claims if claim.owner == mine.owner)
    new, share = settled(limit, others, mine, held, now)
    if limit.decay is None:
        return Lease(limit, new, share, float(max(new - held, 0))), rested
    kept = min(max(mine.used, mine.kept), held)
    if kept < held:
        rested = returned(limit, rested, claims, held - kept, mine.tokens, mark)
    fresh = refilled(limit, new - kept, None if rested is None else between(rested, mark))
    return Lease(limit, new, share, fresh), rested


@attrs.frozen
class Settled:
    """
    What comes of it when a process says what it has and wants.

    Attributes:
        lease: What it gets to hear.
        claim: What it has from now on, for others to read; None where that is nothing.
        gone: The owners of claims that are void.
        alone: Whether no other process has or wants anything.
        rested: Since when the slots of a rate rest that nobody has.
    """

    lease: Lease
    claim: Claim | None
    gone: tuple[str, ...]
    alone: bool
    rested: str | None


def concluded(
    limit: Limit | None,
    rested: str | None,
    claims: Sequence[Claim],
    mine: Claim,
    now: int,
    mark: str,
    dead: Callable[[Claim], bool],
) -> Settled:
    """
    Conclude what the process that says *mine* has from now on, as `leased` does, with what the dead had for others.

    What is in use of a limit that does not exist is kept, too: it may exist in a moment.
    """
    gone = [claim for claim in claims if claim.owner != mine.owner and dead(claim)]
    left = list(claims)
    for claim in gone:
        rested = returned(limit, rested, left, claim.held, 0.0, mark)
        left.remove(claim)
    lease, rested = leased(limit, rested, left, mine, now, mark)
    held = mine.used if limit is None else lease.held
    has = attrs.evolve(mine, held=held) if held or (mine.wanted and limit is not None) else None
    alone = all(claim.owner == mine.owner for claim in left)
    return Settled(lease, has, tuple(claim.owner for claim in gone), alone, rested)


def returned(
    limit: Limit | None, rested: str | None, claims: Sequence[Claim], slots: int, tokens: float, mark: str
) -> str | None:
    """
    Give since when the free slots of a rate rest, when so many *slots* join them of which *tokens* may be used at once.

    What may be used of all of them together is what may be used of the ones and of the others.
    """
    if limit is None or limit.decay is None or slots <= 0:
        return rested
    free = max(limit.slots - sum(claim.held for claim in claims), 0)
    usable = refilled(limit, free, None if rested is None else between(rested, mark)) + min(tokens, slots)
    boot, _, ticks = mark.rpartition(":")
    return marked(boot, int(ticks) - int(usable * limit.slots / (limit.decay * (free + slots)) * 1e9))


def asked_for(mine: Claim) -> Limit | None:
    """Give the limit that is there because *mine* asks for it; None where it is to be defined."""
    return None if mine.size is None else Limit(mine.name, mine.size)


def marked(boot: str, ticks: int) -> str:
    """Write a moment on the clock of one boot of a machine, in nanoseconds, which nobody can set."""
    return f"{boot}:{ticks}"


def between(earlier: str, later: str) -> int:
    """Give the nanoseconds between two marks; 0 where they are of two clocks, which nobody can compare."""
    boot, _, began = earlier.rpartition(":")
    other, _, ended = later.rpartition(":")
    return max(int(ended) - int(began), 0) if boot == other and boot else 0


def shares(slots: int, claims: Sequence[Claim], turn: int) -> dict[str, int]:
    """
    Share *slots* out among who wants some: as evenly as can be, to nobody more than it wants, and with none left over.

    Slots that do not divide evenly go round from turn to turn. Who has waited for more than an even share would ever
    be, and the longest, gets that first.
    """
    wanted = {claim.owner: min(claim.wanted, slots) for claim in claims if claim.wanted > 0}
    even = evenly(slots, wanted, turn)
    most = max(even.values(), default=0)  # in another turn, it would be that
    short = [one for one in claims if one.owner in even and even[one.owner] < one.need <= slots and one.need > most]
    if not short:
        return even
    first = min(short, key=lambda one: (one.since, one.owner))
    rest = {owner: count for owner, count in wanted.items() if owner != first.owner}
    return {**evenly(slots - first.need, rest, turn), first.owner: first.need}


def evenly(slots: int, wanted: Mapping[str, int], turn: int) -> dict[str, int]:
    """Share *slots* out by what is *wanted*; those left over go to others from *turn* to *turn*."""
    share: dict[str, int] = {}
    asking = dict(wanted)
    left = slots
    while asking:
        each, over = divmod(left, len(asking))
        modest = [owner for owner, count in asking.items() if count <= each]
        if not modest:
            owners = sorted(asking)
            first = turn * over % len(owners)
            lucky = {owners[(first + place) % len(owners)] for place in range(over)}
            return {**share, **{owner: each + (owner in lucky) for owner in asking}}
        for owner in modest:
            share[owner] = asking.pop(owner)
            left -= share[owner]
    return share


def refilled(limit: Limit, slots: int, nanoseconds: int | None) -> float:
    """Give how many of *slots* of a rate may be used at once that rested for so long; None: nobody ever used them."""
    if slots <= 0:
        return 0.0
    if limit.decay is None or nanoseconds is None or not limit.slots:
        return float(slots)
    return min(float(slots), slots * limit.decay / limit.slots * max(nanoseconds, 0) / 1e9)
