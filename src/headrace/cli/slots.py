"""Slots of limits in use: who has some and who waits, as processes say it in their claims. Reads; changes nothing."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import attrs
import orjson

from headrace import _owners
from headrace._limits.counter import SHOWN
from headrace._model.columns import plain
from headrace._model.ids import prefix_of
from headrace._model.limits import KEY
from headrace._model.records import FlowRun, moment
from headrace._model.slots import Claim, Limit
from headrace._ports import Store
from headrace.cli.wording import counted, duration


@attrs.frozen
class Party:
    """
    Somebody who has slots of a limit, or waits for some.

    Attributes:
        name, key: The limit's name, and the key it is for; "" for the limit itself.
        owner: The process.
        waits: Whether it waits; else it has them.
        run_id: The run; "" for code outside of runs.
        slots: How many it has, or waits for.
        since: In nanoseconds since 1970.
    """

    name: str
    key: str
    owner: str
    waits: bool
    run_id: str
    slots: int
    since: int


class Tally(NamedTuple):
    """
    The slots of a limit, counted.

    Attributes:
        in_use: None for a rate, whose slots nobody has for long.
        waiting: Those that are waited for.
        more: Whether more are: a process names only so many who wait for a rate.
    """

    in_use: int | None
    waiting: int
    more: bool = False


def split(name: str) -> tuple[str, str]:
    """Give the name of a limit and the key it is for; "" where it is for all."""
    limit, _, key = name.partition(KEY)
    return limit, key


def is_gone(claim: Claim) -> bool:
    """Tell whether the process that makes *claim* is proved to have ended: its slots go to who asks next."""
    return _owners.gone(claim.owner.rpartition(":")[0])


def process_words(owner: str) -> str:
    """Name the process of a claim."""
    host, pid = owner.rsplit(":", 4)[:2] if owner.count(":") >= 4 else (owner, "")
    return plain(f"process {pid} on {host}" if pid else owner)


def parties(claims: Iterable[Claim]) -> list[Party]:
    """List who is said to have slots, or to wait for some, in processes that go on; the longest first."""
    found: list[Party] = []
    for claim in claims:
        if is_gone(claim):
            continue
        for waits, said in ((False, "holders"), (True, "waiters")):
            for run_id, slots, since in shown(claim).get(said, []):
                found.append(Party(*split(claim.name), claim.owner, waits, run_id, slots, since))
    return sorted(found, key=lambda one: (one.waits, one.since, one.run_id))


def each_once(found: Sequence[Party]) -> list[Party]:
    """Give who is named both by a limit and by that of a key once, with the key."""
    keyed = {attrs.evolve(one, key="") for one in found if one.key}
    return [one for one in found if one.key or one not in keyed]


def shown(claim: Claim) -> dict[str, Any]:
    """Read who has slots and who waits, in one process."""
    said: dict[str, Any] = orjson.loads(claim.shown) if claim.shown else {}
    return said


def tally(limit: Limit | None, claims: Iterable[Claim]) -> Tally:
    """Count what is in use and waited for of *limit*, None for one of a key, in processes that go on."""
    rate = limit is not None and limit.decay is not None
    in_use = waiting = 0
    more = False
    for claim in claims:
        if is_gone(claim):
            continue
        waiters = shown(claim).get("waiters", [])
        named = sum(slots for _, slots, _ in waiters)
        in_use += claim.used
        if len(waiters) < SHOWN:
            waiting += named
        elif rate:
            waiting, more = waiting + named, True
        else:
            waiting += max(named, claim.wanted - claim.used)
    return Tally(None if rate else in_use, waiting, more)


def party_object(one: Party) -> dict[str, Any]:
    """Give *one* as an object of JSON."""
    return {
        "run_id": one.run_id or None,
        "slots": one.slots,
        "since": moment(one.since),
        "key": one.key or None,
        "owner": one.owner,
    }


# -- of one flow run ------------------------------------------------------------------------------------------


async def slots_of(store: Store, run: FlowRun) -> list[Party]:
    """List the slots that *run* and its task runs have, or wait for; the longest first."""
    if run.state.is_final():
        return []
    prefix = prefix_of(run.id)
    everybody = parties(await store.limits.claims())
    return each_once([one for one in everybody if one.run_id and prefix_of(one.run_id) == prefix])


def slot_facts(found: Sequence[Party]) -> list[tuple[str, str]]:
    """Say, in a line for each limit, what the runs of a flow run have of it and wait for."""
    lines: dict[tuple[bool, str], list[Party]] = {}
    for one in found:
        lines.setdefault((one.waits, one.name), []).append(one)
    now = time.time_ns()
    said: list[tuple[str, str]] = []
    for (waits, name), some in lines.items():
        longest = duration(max(0, now - min(one.since for one in some)) / 1e9)
        since = f"for {longest}" if len(some) == 1 else f"the longest for {longest}"
        slots = counted(sum(one.slots for one in some), "slot")
        said.append(
            (
                "Waits for" if waits else "Holds",
                f"{slots} of the limit {plain(name)!r}, {since}: headrace gcl inspect {shlex.quote(plain(name))}",
            )
        )
    return said


def slot_objects(found: Sequence[Party]) -> list[dict[str, Any]]:
    """Give *found* as objects of JSON that name their limit."""
    return [{"limit": one.name, "waits": one.waits, **party_object(one)} for one in found]
