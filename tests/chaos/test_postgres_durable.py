"""Durable flows on a database server: workers are killed, the server is, and machines know each other by leases."""

from __future__ import annotations

import ast
import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from headrace import runs
from headrace._model.steps import SIZE
from headrace._stores.postgres_link import PATIENCE
from tests.chaos import durable_loop
from tests.chaos.durable_flows import right, steps_of
from tests.chaos.durable_loop import AT_ONCE, Ledger, Loop, Step
from tests.chaos.durable_programs import GATE, LEASE, STEPS
from tests.chaos.processes import Child, until
from tests.contract.postgres_server import Server
from tests.spec.keeping import runtime_at

LONG = os.environ.get("CHAOS") == "long"
KILLS, KILLED_STEPS = (300, 50_000) if LONG else (16, 1_000)
FLOWS, RESTARTS, CUTS = (2_000, 100, 400) if LONG else (60, 4, 10)
SEED = int(os.environ.get("CHAOS_SEED", "20240229"))
Start = Callable[..., Child]


class Record:
    """A database of a server, and the home of the programs that use it."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server = server
        self.home = folder / "home"
        self.home.mkdir()
        self.name = server.database()
        self.url = server.url(self.name)

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """Read from Headrace's tables."""

        async def read() -> list[tuple[Any, ...]]:
            connection: Any = await import_module("asyncpg").connect(
                self.url, server_settings={"search_path": "headrace"}
            )
            try:
                return [tuple(row) for row in await connection.fetch(statement)]
            finally:
                await connection.close()

        return asyncio.run(read())

    @property
    def owners(self) -> int:
        """How many durable runs have not ended."""
        return int(self.rows("SELECT count(*) FROM run_owner")[0][0])

    def on_record(self) -> Counter[Step]:
        """Count the rows of each step, which are all of steps that completed."""
        found: Counter[Step] = Counter()
        for state, said in self.rows("SELECT coalesce(state_name, 'Completed'), step_args FROM task_run"):
            flow, place, value = ast.literal_eval(said[SIZE:])
            assert state == "Completed", said
            found[str(flow), place, str(value)] += 1
        return found


@pytest.fixture
def record(postgresql: Server, tmp_path: Path) -> Record:
    return Record(postgresql, tmp_path)


@pytest.fixture
def start(record: Record) -> Iterator[Start]:
    """Give a function that starts a program; none outlives the test."""
    children: list[Child] = []

    def started(module: str, *args: object) -> Child:
        first, *more = args
        child = Child(module, str(first), *more, home=record.home, HEADRACE_DATABASE_URL=record.url)
        children.append(child)
        return child

    yield started
    for child in children:
        child.process.kill()
        child.process.wait()


def see_nothing_lost(record: Record, ledger: Ledger) -> None:
    """See that no step whose caller went on is missing, was run again after that, or is on record twice."""
    on_record = record.on_record()
    lost = ledger.gone_past - on_record.keys()
    twice = {step: count for step, count in on_record.items() if count > 1}
    print(
        f"\n{len(ledger.gone_past)} steps acknowledged, {len(lost)} lost, {len(twice)} recorded twice, "
        f"{len(ledger.after)} run again after they were acknowledged, {ledger.again} before (seed {SEED})"
    )
    assert (lost, twice, ledger.after) == (set(), {}, [])
    assert record.rows("SELECT step_id FROM task_run GROUP BY flow_run_id, step_id HAVING count(*) > 1") == []


def see_all_completed(record: Record, ledger: Ledger) -> int:
    """See that each flow which has begun has completed, once, with all of its steps; count them."""
    roots = record.rows("SELECT id, state_name FROM flow_run WHERE parent_id IS NULL")
    assert {state for _, state in roots} == {"Completed"}
    with runtime_at(record.home, url=record.url):
        results = {str(result[0]): result[1:] for result in (runs.flow_run(one).state.result() for one, _ in roots)}
    assert len(results) == len(roots)
    assert results.keys() == {flow for (flow, _, _), _ in ledger.bodies}
    steps, drawn_by = Counter(flow for flow, _, _ in ledger.gone_past), ledger.drawn()
    for flow, (total, drawn) in results.items():
        assert (total, steps[flow]) == (right(int(flow)), steps_of(int(flow)))
        assert drawn_by[flow] == {drawn}
    assert record.owners == 0
    return len(results)


# -- workers are killed ------------------------------------------------------------------------------------------------


@pytest.mark.required
@pytest.mark.timeout(3_600 if LONG else 120)
def test_workers_are_killed_and_no_step_is_lost_or_run_again_after_its_caller_went_on(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rows(_home: Path, statement: str) -> list[tuple[Any, ...]]:
        return record.rows(statement)

    monkeypatch.setattr(durable_loop, "rows", rows)
    monkeypatch.setattr(durable_loop, "Child", partial(Child, HEADRACE_DATABASE_URL=record.url))
    loop = Loop(record.home, SEED)
    loop.run(KILLS, KILLED_STEPS)

    print(f"\n{loop.kills} kills")
    see_nothing_lost(record, loop.ledger)
    see_all_completed(record, loop.ledger)
    assert loop.kills >= KILLS
    assert len(loop.ledger.gone_past) >= KILLED_STEPS
    assert loop.ledger.again > 0, "no step was cut short: the kills came too late to prove anything"


# -- the server is killed ----------------------------------------------------------------------------------------------


class Weather:
    """
    Stops the server as a crash would, every one to three seconds, and ends connections in between, at random.

    In the long form it stays away now and then for longer than anybody waits for it.
    """

    def __init__(self, record: Record) -> None:
        self.record = record
        self.chance = random.Random(SEED)
        self.restarts = self.cuts = 0
        self.away = range(1, RESTARTS, 25) if LONG else ()
        self.next_restart = time.monotonic() + 1

    def turn(self) -> None:
        """Wait a moment, and do what is due."""
        time.sleep(self.chance.uniform(0.05, 0.4))
        if time.monotonic() < self.next_restart:
            self.cuts += len(self.record.rows(
                "SELECT pg_terminate_backend(pid) FROM (SELECT pid FROM pg_stat_activity "
                "WHERE datname = current_database() AND application_name = 'headrace' "
                "ORDER BY random() LIMIT 1) AS one"
            ))  # fmt: skip
            return
        self.record.server.stop()
        self.restarts += 1
        time.sleep(PATIENCE + 2 if self.restarts in self.away else self.chance.choice((0.0, 0.0, 0.5)))
        self.record.server.start()
        self.next_restart = time.monotonic() + self.chance.uniform(1, 3)


@pytest.mark.required
@pytest.mark.timeout(7_200 if LONG else 180)
def test_the_server_crashes_again_and_again_and_all_flows_come_to_their_end(record: Record, start: Start) -> None:
    share = FLOWS // AT_ONCE
    weather, ledger = Weather(record), Ledger(record.home / "ledger")
    workers = [start("tests.chaos.weathered", turn * share, share, AT_ONCE) for turn in range(AT_ONCE)]
    until(lambda: (record.home / "ledger").exists())
    began = time.monotonic()
    while weather.restarts < RESTARTS or weather.cuts < CUTS or not over(record, share * AT_ONCE):
        weather.turn()
        ledger.read()
        assert time.monotonic() - began < (7_000 if LONG else 120), "it does not come to an end"
        for child in workers:
            assert child.process.poll() is None, f"a worker ended by itself: {child.out}{child.err}"
    (record.home / "enough").touch()
    ends = [child.ended() for child in workers]
    ledger.read()

    stopped = sum(end.out.count("stopped") for end in ends)
    print(f"\n{weather.restarts} crashes, {weather.cuts} connections ended, {stopped} flows stopped, "
          f"{time.monotonic() - began:.0f} s")  # fmt: skip
    see_nothing_lost(record, ledger)
    assert see_all_completed(record, ledger) == share * AT_ONCE
    assert [end.status for end in ends] == [0] * AT_ONCE
    assert stopped > 0 or not weather.away, "the server was never away for long enough to prove anything"


def over(record: Record, flows: int) -> bool:
    """Tell whether so many flows have begun, and all have ended."""
    return record.rows("SELECT count(*) FROM flow_run WHERE parent_id IS NULL") == [(flows,)] and record.owners == 0


# -- machines that see each other by leases alone ----------------------------------------------------------------------


def lines(record: Record) -> list[str]:
    """Read what the steps wrote."""
    path = record.home / "ledger"
    return path.read_text().splitlines() if path.exists() else []


@pytest.mark.required
def test_what_a_killed_machine_had_another_takes_over_within_its_lease_and_a_second(
    record: Record, start: Start
) -> None:
    first = start("tests.chaos.elsewhere", "one", "is_stopped", "awaits")
    until(lambda: f"step {GATE} {first.process.pid}" in lines(record))
    second = start("tests.chaos.elsewhere", "two", "takes_up")
    second.said("open")
    until(lambda: record.rows("SELECT name FROM lease WHERE name LIKE 'process one:%'"))
    first.process.kill()
    first.process.wait()
    ((lease,),) = record.rows("SELECT expires FROM lease WHERE name LIKE 'process one:%'")
    killed = time.time_ns()
    assert [owner.split(":")[0] for (owner,) in record.rows("SELECT owner FROM run_owner")] == ["one"]
    until(lambda: record.rows("SELECT owner FROM run_owner WHERE owner LIKE 'two:%'"))

    ((taken, epoch),) = record.rows("SELECT since, epoch FROM run_owner")
    assert lease <= taken < killed + (LEASE + 1) * 1e9
    assert epoch == 2
    (record.home / f"go {second.process.pid}").touch()
    until(lambda: record.owners == 0)
    (record.home / "enough").touch()
    assert second.ended().status == 0
    assert record.rows("SELECT state_name FROM flow_run") == [("Completed",)]
    assert Counter(line.rpartition(" ")[0] for line in lines(record)) == {
        f"step {number}": 2 if number == GATE else 1 for number in range(STEPS)
    }


@pytest.mark.required
@pytest.mark.parametrize("kind", ["awaits", "blocks", "gathers"])
def test_what_a_machine_writes_that_was_stopped_past_its_lease_is_refused(
    record: Record, start: Start, kind: str
) -> None:
    first = start("tests.chaos.elsewhere", "one", "is_stopped", kind)
    one = first.process.pid
    until(lambda: f"step {GATE} {one}" in lines(record))
    first.send(signal.SIGSTOP)
    os.waitid(os.P_PID, one, os.WSTOPPED | os.WNOWAIT)
    second = start("tests.chaos.elsewhere", "two", "takes_up")
    other = second.process.pid
    until(lambda: f"step {GATE} {other}" in lines(record))
    (record.home / f"go {one}").touch()
    first.send(signal.SIGCONT)
    end = first.ended()
    assert record.rows("SELECT state_name FROM flow_run") == [("Running",)]
    (record.home / f"go {other}").touch()
    until(lambda: record.owners == 0)
    (record.home / "enough").touch()
    assert (second.ended().status, second.err.count("Traceback")) == (0, 0)

    assert end.out.startswith("lost Flow run"), end
    assert record.rows(f"SELECT message FROM log WHERE message = 'step {GATE} in process {one}'") == []
    ((owner, epoch, state),) = record.rows("SELECT owner, epoch, state_name FROM flow_run")
    assert (owner.split(":")[:2], epoch, state) == (["two", str(other)], 2, "Completed")
    with runtime_at(record.home, url=record.url):
        (run,) = runs.flow_runs()
        results = [task_run.state.result() for task_run in runs.task_runs(run)]
    beside = 2 if kind == "gathers" else 0  # steps that may have ended, and been recorded, while the gate was closed
    assert GATE <= results.count(one) <= GATE + beside
    assert results.count(other) == STEPS - results.count(one)
