"""`headrace gcl ls` and `inspect`, `concurrency-limit reset`, `flow-run inspect`: who has slots, and who waits."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import orjson
import pytest

from headrace import _owners
from headrace._model.slots import Claim, Limit
from headrace._stores.memory import MemoryStore
from tests.unit.cli.recorded import Teller, environment, goes_on, rewritten

ELSEWHERE = "elsewhere:4242:1:1:1"
OTHER = "far:away:4343:1:1:2"
DEAD = f"{socket.gethostname()}:4444:no-start:{_owners.boot() or 'boot'}:1"
RUN = "3f2a9c1e-0000-4000-8000-000000000000"
SECOND = 1_000_000_000
HOUR = 3_630.0  # and half a minute, so that what is shown in minutes does not hang on how long a test takes

Who = tuple[str, int, float]


def ago(seconds: float) -> int:
    """Give the moment so many seconds ago."""
    return time.time_ns() - int(seconds * SECOND)


def claim(
    owner: str,
    holders: list[Who] | None = None,
    waiters: list[Who] | None = None,
    *,
    name: str = "api",
    held: int | None = None,
    wanted: int | None = None,
) -> Claim:
    """Make what a process says that has and wants slots: who, how many, and for how many seconds by now."""
    shown = {
        "holders": [[who, slots, ago(seconds)] for who, slots, seconds in holders or []],
        "waiters": [[who, slots, ago(seconds)] for who, slots, seconds in waiters or []],
    }
    used = sum(slots for _, slots, _ in holders or [])
    if wanted is None:
        wanted = used + sum(slots for _, slots, _ in waiters or [])
    held = used if held is None else held
    return Claim(name, owner, held, used, wanted, shown=orjson.dumps(shown).decode())


def claimed(tell: Teller, *claims: Claim) -> None:
    """Have processes say that, in the database itself: which slots they would get is the business of others."""
    for one in claims:
        values = (one.name, one.owner, one.held, one.used, one.wanted, one.shown)
        rewritten(
            tell.home,
            "INSERT INTO slot_claim (name, owner, held, used, wanted, need, since, beat, shown) "
            "VALUES (?, ?, ?, ?, ?, 0, 0, 1, ?)",
            *values,
        )


def rows(text: str) -> list[list[str]]:
    """Give the words of each line."""
    return [line.split() for line in text.splitlines()]


@pytest.fixture
def tell(tell_fresh: Teller) -> Teller:
    """A machine with the limit `api` of five slots, and nothing else."""
    tell_fresh("gcl", "create", "api", "--limit", "5")
    return tell_fresh


@pytest.fixture
def tell_rate(tell_fresh: Teller) -> Teller:
    """A machine with the rate `mail`, ten slots of which two come free a second, and nothing else."""
    tell_fresh("gcl", "create", "mail", "--limit", "10", "--slot-decay-per-second", "2")
    return tell_fresh


# -- ls -----------------------------------------------------------------------------------------------------


def test_limits_are_listed_by_name_with_what_is_in_use_of_them_and_waited_for(tell: Teller) -> None:
    tell("gcl", "create", "mail", "--limit", "1000", "--slot-decay-per-second", "2.5")
    tell("gcl", "create", "db", "--limit", "0", "--disable")
    claimed(tell, claim(ELSEWHERE, [(RUN, 2, 1)], [("", 3, 1)]), claim(OTHER, [("", 1, 1.0)], [(RUN, 1, 1.0)]))

    assert rows(tell("gcl", "ls").stdout) == [
        ["NAME", "LIMIT", "IN", "USE", "WAITING", "RATE", "ENABLED"],
        ["api", "5", "3", "4", "yes"],
        ["db", "0", "0", "0", "no"],
        ["mail", "1,000", "0", "2.5", "a", "second", "yes"],
    ]


def test_programs_get_the_numbers(tell: Teller) -> None:
    claimed(tell, claim(ELSEWHERE, [(RUN, 2, 1)], [("", 3, 1)]))

    (one,) = tell.json("gcl", "ls")

    assert one == {
        "name": "api",
        "key": None,
        "limit": 5,
        "in_use": 2,
        "waiting": 3,
        "slot_decay_per_second": None,
        "active": True,
    }


def test_no_limits_say_how_to_make_one_and_that_works(tell_fresh: Teller) -> None:
    said = tell_fresh("gcl", "ls").stdout
    assert said == "There are no limits yet. Create one: headrace gcl create api --limit 5\n"

    tell_fresh(*said.partition("headrace ")[2].split())

    assert [one["name"] for one in tell_fresh.json("gcl", "ls")] == ["api"]


def test_what_a_dead_process_had_is_not_in_use(tell: Teller) -> None:
    claimed(tell, claim(DEAD, [(RUN, 2, 1)], [("", 1, 1.0)]), claim(ELSEWHERE, [("", 1, 1.0)]))

    (one,) = tell.json("gcl", "ls")

    assert (one["in_use"], one["waiting"]) == (1, 0)


def test_a_limit_that_is_deleted_is_not_shown_whatever_processes_say(tell: Teller) -> None:
    claimed(tell, claim(ELSEWHERE, [(RUN, 1, 1.0)]))
    rewritten(tell.home, "DELETE FROM slot_limit")

    assert tell.json("gcl", "ls") == []
    assert tell("gcl", "inspect", "api", status=1).stderr.startswith("There is no limit 'api'.")


def test_more_who_wait_than_a_process_names_are_counted_all_the_same(tell: Teller) -> None:
    crowd: list[Who] = [("", 1, 1.0)] * 100
    claimed(tell, claim(ELSEWHERE, [(RUN, 5, 1)], crowd, wanted=5_005))

    assert tell.json("gcl", "ls")[0]["waiting"] == 5_000


def test_more_who_wait_for_a_rate_than_a_process_names_are_said_to_be_more(tell_rate: Teller) -> None:
    claimed(tell_rate, claim(ELSEWHERE, None, [("", 1, 1.0)] * 100, name="mail", wanted=1 << 40))

    assert "100+" in rows(tell_rate("gcl", "ls").stdout)[1]


def test_limits_of_keys_are_listed_after_their_limit_as_long_as_somebody_uses_them(tell: Teller) -> None:
    tell("gcl", "create", "apis", "--limit", "1")
    claimed(
        tell,
        claim(ELSEWHERE, [("", 1, 1.0)], [("", 1, 1.0)], name="api\x1facme"),
        claim(ELSEWHERE, [("", 1, 1.0)], name="free\x1fzeta\x1b[2J"),
        claim(DEAD, [("", 1, 1.0)], name="api\x1fgone"),
    )

    assert rows(tell("gcl", "ls").stdout) == [
        ["NAME", "KEY", "LIMIT", "IN", "USE", "WAITING", "ENABLED"],
        ["api", "5", "0", "0", "yes"],
        ["api", "acme", "1", "1", "yes"],
        ["apis", "1", "0", "0", "yes"],
        ["free", "zeta\\x1b[2J", "1", "0", "yes"],
    ]
    assert [(one["name"], one["key"], one["limit"]) for one in tell.json("gcl", "ls")][1:3] == [
        ("api", "acme", None),
        ("apis", None, 1),
    ]


def test_a_narrow_terminal_keeps_the_numbers(tell_rate: Teller) -> None:
    lines = tell_rate("gcl", "ls", COLUMNS="40").stdout.splitlines()

    assert lines[0].split() == ["NAME", "LIMIT", "IN", "USE", "WAITING", "ENABLED"]
    assert all(len(line) <= 40 for line in lines)


# -- inspect ------------------------------------------------------------------------------------------------


def test_a_limit_shows_its_processes_and_who_holds_and_waits_the_longest_first(tell: Teller) -> None:
    tell("gcl", "update", "api", "--limit", "4")
    task = f"{RUN[:24]}00000000001c"
    claimed(
        tell,
        claim(ELSEWHERE, [(RUN, 1, HOUR), (task, 1, 3 * HOUR)], [("", 2, HOUR), (task, 1, 2 * HOUR)], held=3),
        claim(OTHER, [("", 1, 2 * HOUR)]),
    )

    facts, processes, people = tell("gcl", "inspect", "api").stdout.split("\n\n")

    assert rows(facts)[:5] == [
        ["Limit", "api"],
        ["Slots", "4"],
        ["In", "use", "3"],
        ["Waiting", "3"],
        ["Enabled", "yes"],
    ]
    assert [" ".join(words) for words in rows(processes)] == [
        "PROCESS HELD USED WANTED",
        "process 4242 on elsewhere 3 2 5",
        "process 4343 on far:away 1 1 1",
    ]
    assert [" ".join(words) for words in rows(people)] == [
        "RUN SLOTS FOR PROCESS",
        "holds 3f2a9c1e.01c 1 3 h 1 min process 4242 on elsewhere",
        "holds code outside of runs 1 2 h 1 min process 4343 on far:away",
        "holds 3f2a9c1e 1 1 h process 4242 on elsewhere",
        "waits 3f2a9c1e.01c 1 2 h 1 min process 4242 on elsewhere",
        "waits code outside of runs 2 1 h process 4242 on elsewhere",
    ]


def test_a_limit_as_an_object_names_runs_whole_and_moments_in_utc(tell: Teller) -> None:
    claimed(tell, claim(ELSEWHERE, [(RUN, 2, 1)], [("", 3, 1)]))

    one = tell.json("concurrency-limit", "inspect", "api")

    assert one["processes"] == [
        {"owner": ELSEWHERE, "process_ended": False, "key": None, "held": 2, "used": 2, "wanted": 5}
    ]
    (holder,), (waiter,) = one["holders"], one["waiters"]
    assert (holder["run_id"], holder["slots"], holder["key"], holder["owner"]) == (RUN, 2, None, ELSEWHERE)
    assert (waiter["run_id"], waiter["slots"]) == (None, 3)
    assert holder["since"].endswith("Z")
    assert {name: value for name, value in one.items() if not isinstance(value, list)} == tell.json("gcl", "ls")[0]


def test_a_limit_that_nobody_uses_is_a_list_of_facts(tell: Teller) -> None:
    shown = tell("gcl", "inspect", "api").stdout

    assert (
        shown == f"Limit    api\nSlots    5\nIn use   0\nWaiting  0\nEnabled  yes\nKept in  {tell.home}/headrace.db\n"
    )


def test_what_a_limit_s_numbers_mean_is_said_where_they_may_surprise(tell_rate: Teller) -> None:
    tell_rate("gcl", "create", "shut", "--limit", "0")
    tell_rate("gcl", "disable", "mail")

    assert "Slots    0: nobody may enter\n" in tell_rate("gcl", "inspect", "shut").stdout
    shown = tell_rate("gcl", "inspect", "mail").stdout
    assert "Slots    10, at once after a quiet time\nRate     2 a second\nWaiting  0\n" in shown
    assert "Enabled  no, so it limits nothing. Enable it: headrace gcl enable mail\n" in shown


def test_who_wants_all_that_a_rate_has_is_said_to_want_that(tell_rate: Teller) -> None:
    claimed(tell_rate, claim(ELSEWHERE, name="mail", wanted=1 << 40))

    assert tell_rate.json("gcl", "inspect", "mail")["processes"][0]["wanted"] == 10


def test_of_many_a_few_are_shown_and_more_on_demand(tell: Teller) -> None:
    claimed(tell, claim(ELSEWHERE, [(RUN, 1, 1.0)] * 3, [(RUN, 1, 1.0)] * 30))

    shown = tell("gcl", "inspect", "api").stdout
    assert (shown.count("holds"), shown.count("waits ")) == (3, 20)
    assert shown.endswith("\n\nThere are more; --limit says how many are shown.\n")

    assert tell("gcl", "inspect", "api", "--limit", "2").stdout.count("holds") == 2
    assert "more" not in tell("gcl", "inspect", "api", "--limit", "30").stdout
    assert len(tell.json("gcl", "inspect", "api")["waiters"]) == 30


def test_who_is_named_by_the_limit_and_by_that_of_a_key_is_shown_once_with_the_key(tell: Teller) -> None:
    both = claim(ELSEWHERE, [(RUN, 1, 2)], [("", 1, 1.0)])
    other = claim(OTHER, [("", 1, 3)])
    keyed = Claim("api\x1facme", ELSEWHERE, held=2, used=1, wanted=2, shown=both.shown)
    claimed(tell, both, other, keyed)

    one = tell.json("gcl", "inspect", "api")

    assert [(who["run_id"], who["key"]) for who in one["holders"]] == [(None, None), (RUN, "acme")]
    assert [(who["run_id"], who["key"]) for who in one["waiters"]] == [(None, "acme")]
    assert sorted(str(process["key"]) for process in one["processes"]) == ["None", "None", "acme"]
    assert " KEY " in tell("gcl", "inspect", "api").stdout


def test_a_limit_that_only_keys_have_is_shown_too(tell: Teller) -> None:
    claimed(tell, claim(ELSEWHERE, [(RUN, 1, 2)], name="free\x1facme"))

    assert "not defined; only keys of it are limited" in tell("gcl", "inspect", "free").stdout
    one = tell.json("gcl", "inspect", "free")
    assert (one["limit"], one["in_use"], one["holders"][0]["key"]) == (None, 0, "acme")


def test_a_dead_process_is_said_to_be_dead_and_how_to_have_its_slots_back(tell: Teller) -> None:
    claimed(tell, claim(DEAD, [(RUN, 2, 1)]))

    shown = tell("gcl", "inspect", "api").stdout

    assert f"process 4444 on {socket.gethostname()} (dead)  2     2     2\n" in shown
    assert "holds" not in shown
    advice = "Take them back now: headrace concurrency-limit reset api"
    assert advice in shown

    tell(*advice.partition("headrace ")[2].split())

    assert tell.json("gcl", "inspect", "api")["processes"] == []


# -- reset --------------------------------------------------------------------------------------------------


def test_slots_are_taken_back_from_all_processes_and_keys_and_from_no_other_limit(tell: Teller) -> None:
    tell("gcl", "create", "apis", "--limit", "3")
    claimed(
        tell,
        claim(ELSEWHERE, [(RUN, 2, 1)]),
        claim(OTHER, [(RUN, 1, 1.0)]),
        claim(ELSEWHERE, [(RUN, 1, 1.0)], name="api\x1facme"),
        claim(ELSEWHERE, [(RUN, 3, 1)], name="apis"),
    )

    assert tell("concurrency-limit", "reset", "api").stdout == "Took back 3 slots of the limit 'api'.\n"

    assert [(one["name"], one["key"], one["in_use"]) for one in tell.json("gcl", "ls")] == [
        ("api", None, 0),
        ("apis", None, 3),
    ]
    assert tell("concurrency-limit", "reset", "api").stdout == "No slot of the limit 'api' was taken.\n"


def test_slots_of_a_limit_that_only_keys_have_are_taken_back(tell: Teller) -> None:
    claimed(tell, claim(ELSEWHERE, [(RUN, 1, 2)], name="free\x1facme"))

    assert tell.json("concurrency-limit", "reset", "free") == {"name": "free", "taken_back": 1}


# -- flow runs ----------------------------------------------------------------------------------------------


def test_a_flow_run_in_progress_shows_what_it_and_its_tasks_hold_and_wait_for(tell_own: Teller) -> None:
    run_id = goes_on(tell_own.home, "fails")
    task = f"{run_id[:24]}000000000001"
    tell_own("gcl", "create", "api", "--limit", "5")
    tell_own("gcl", "create", "our db", "--limit", "1")
    both = claim(ELSEWHERE, [(run_id, 1, HOUR), (task, 2, 2 * HOUR), (RUN, 1, 9 * HOUR), ("", 1, 9 * HOUR)])
    keyed = Claim("api\x1facme", ELSEWHERE, held=2, used=2, wanted=2, shown=both.shown)
    claimed(tell_own, both, keyed, claim(ELSEWHERE, None, [(task, 1, HOUR)], name="our db"))

    shown = tell_own("flow-run", "inspect", run_id[:8], COLUMNS="150").stdout

    assert "Holds       3 slots of the limit 'api', the longest for 2 h 1 min: headrace gcl inspect api\n" in shown
    assert "Waits for   1 slot of the limit 'our db', for 1 h: headrace gcl inspect 'our db'\n" in shown
    slots: list[dict[str, Any]] = tell_own.json("flow-run", "inspect", run_id)["slots"]
    assert [(one["limit"], one["key"], one["waits"], one["run_id"], one["slots"]) for one in slots] == [
        ("api", "acme", False, task, 2),
        ("api", "acme", False, run_id, 1),
        ("our db", None, True, task, 1),
    ]


def test_a_flow_run_that_has_ended_or_needs_no_slots_shows_none(tell_own: Teller) -> None:
    run_id = tell_own.id_of("fails")
    tell_own("gcl", "create", "api", "--limit", "5")
    claimed(tell_own, claim(ELSEWHERE, [(run_id, 1, 1)]))

    assert "Holds" not in tell_own("flow-run", "inspect", run_id).stdout

    goes_on(tell_own.home, "fails")
    assert "Holds" in tell_own("flow-run", "inspect", run_id).stdout
    rewritten(tell_own.home, "DELETE FROM slot_claim")
    assert "Holds" not in tell_own("flow-run", "inspect", run_id).stdout
    assert tell_own.json("flow-run", "inspect", run_id)["slots"] == []


# -- as it really is ----------------------------------------------------------------------------------------

HOLDING = """
import sys
from headrace import flow, task
from headrace.concurrency import concurrency

@task(tags=["api"])
def tagged():
    with concurrency("db", key="acme", limit_per_key=1):
        print("inside", flush=True)
        sys.stdin.readline()

@flow(name="holding")
def holding():
    tagged()

holding()
"""


@contextmanager
def holding(tell: Teller) -> Generator[None]:
    """Have a flow run hold a slot of `api` by a tag, and one of the key `acme` of `db`, for the block."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDING],
        env=environment(tell.home, HEADRACE_LOG_LEVEL="OFF"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "inside\n"
        yield
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.wait(60) == 0


def test_a_process_that_holds_slots_is_seen_with_its_run_and_gone_when_it_has_ended(tell: Teller) -> None:
    with holding(tell):
        deadline = time.monotonic() + 30
        while {one["key"] for one in tell.json("gcl", "ls") if one["in_use"]} != {None, "acme"}:
            assert time.monotonic() < deadline
        run_id = tell.id_of("holding")
        (holder,) = tell.json("gcl", "inspect", "api")["holders"]
        assert holder["run_id"] == f"{run_id[:24]}000000000001"
        assert [one["limit"] for one in tell.json("flow-run", "inspect", run_id)["slots"]] == ["api", "db"]
        assert "Holds " in tell("flow-run", "inspect", "last").stdout

    (one,) = tell.json("gcl", "ls")
    assert (one["name"], one["in_use"], one["waiting"]) == ("api", 0, 0)


def test_a_store_of_another_kind_is_asked_limit_by_limit() -> None:
    async def seen() -> list[Claim]:
        store = MemoryStore()
        await store.limits.define(Limit("api", 5))
        ask = Claim("api", ELSEWHERE, wanted=2)
        await store.limits.settle([ask], time.time_ns(), "boot:0", lambda _: False)
        return await store.limits.claims()

    assert [(one.owner, one.held) for one in asyncio.run(seen())] == [(ELSEWHERE, 2)]
