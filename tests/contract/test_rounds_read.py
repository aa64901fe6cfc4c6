"""
What the rounds of the back office read in a database of many runs: by an index, however many have ended or wait.

20,000 runs that have ended and 2,000 that are suspended; with CHAOS=long, as `nox -s chaos -- long` sets it, 1,000,000
and 100,000. The plans are those of the statements as they are run, before and after the database has counted its rows.
"""

from __future__ import annotations

import os
import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from headrace._model.records import Owned, Suspension
from headrace._owners import PROCESS
from headrace._ports import Batch, Store
from headrace._stores.postgres import PostgresStore
from headrace._stores.sqlite import SQLiteStore
from headrace._stores.sqlite_reading import read
from headrace._suspects import steps_in
from tests.contract.postgres_server import Server
from tests.contract.stores import NOON, SECOND, batch, flow_id, flow_row, task_row
from tests.contract.test_owners import begins, goes_on
from tests.contract.test_signals import signal
from tests.contract.test_suspended import PAUSED, suspends

ENDED, WAITING = (1_000_000, 100_000) if os.environ.get("CHAOS") == "long" else (20_000, 2_000)
AT_A_TIME = 1_000
LIVE = range(ENDED + WAITING + 1, ENDED + WAITING + 3)
MINE = [flow_id(number) for number in LIVE]
NOW = NOON + (ENDED + 5) * SECOND  # five of those that wait are due
BIG = "flow_run|task_run|run_owner"
FEW = "run_owner_had|run_owner_due|flow_run_unfinished"  # the indexes of what neither has ended nor waits
# Has the server send us the plan of each statement, those in functions among them.
EXPLAINED = (
    "LOAD 'auto_explain'; SET auto_explain.log_min_duration = 0; SET auto_explain.log_nested_statements = on; "
    "SET client_min_messages = log"
)


async def fill(store: Store) -> None:
    """Have runs in *store* that have ended, that are suspended, and a few that go on."""
    for first in range(1, ENDED + 1, AT_A_TIME):
        numbers = range(first, first + AT_A_TIME)
        ended = [row for number in numbers for row in (flow_row(number, owner="one"), task_row(1, of=number))]
        await store.append(batch(*ended))
    for first in range(ENDED + 1, ENDED + WAITING + 1, AT_A_TIME):
        made = Batch()
        for number in range(first, first + AT_A_TIME):
            made.flow_runs.append(flow_row(number, **PAUSED))
            made.owned.append((flow_id(number), "one", 1, NOON))
            made.fences[flow_id(number)] = 1
            made.suspended.append(Suspension(flow_id(number), NOON + number * SECOND, [(flow_id(number), "go")]))
        await store.append(made)
    for number in LIVE:
        await store.append(begins(number))


async def rounds(store: Store) -> None:
    """Read and write what is read and written again and again, in rounds and as runs are suspended and taken up."""
    await store.unfinished()
    await store.owners.listed()
    await store.owners.leases(PROCESS)
    await store.owners.one(flow_id(ENDED + 50))
    await store.requests(MINE)
    await store.signals.fresh(MINE)
    await store.results.claim(f"{PROCESS}one", "one", now=NOW, until=NOW + SECOND)
    await store.results.renew([f"{PROCESS}one"], "one", NOW + SECOND)
    (run,) = await store.flow_runs(begins=MINE[0], limit=1)
    await steps_in(store, run)
    await store.signals.send(signal(ENDED + 51))
    due, following = await store.owners.due(NOW, 3)
    assert len(due) == 3
    assert following == NOW + SECOND
    assert await store.owners.claim(due, "one", NOW) == {one.run_id for one in due}
    assert len(await store.histories([one.run_id for one in due])) == 3
    for one in due:
        await store.append(goes_on(number_of(one), 2, one.epoch + 1))
        await store.append(suspends(number_of(one), one.wake_at, "stop", epoch=one.epoch + 1))


def number_of(one: Owned) -> int:
    """Give the number of the run that is *one*'s."""
    return int(one.run_id[:8], 16)


async def test_sqlite_finds_what_rounds_read_by_an_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SQLiteStore(tmp_path / "rounds.db", "OFF")
    await store.open()
    await fill(store)
    writer, said, plans = store.writer, set[str](), set[str]()
    assert writer is not None
    monkeypatch.setattr(store, "rows", partial(read, store))  # all on the connection that is listened to
    for counted in (False, True):
        if counted:
            writer.execute("ANALYZE")
        writer.set_trace_callback(said.add)
        await rounds(store)
        writer.set_trace_callback(None)
        for statement in said:
            if statement.split()[0] in {"SELECT", "INSERT", "UPDATE", "DELETE"}:
                plans.update(row[-1] for row in writer.execute(f"EXPLAIN QUERY PLAN {statement}"))
    await store.close()

    assert "SCAN flow_run USING INDEX flow_run_unfinished" in plans
    assert [line for line in plans if re.match(rf"SCAN ({BIG})\b(?!.* ({FEW})$)|BLOOM", line)] == []


async def test_postgresql_finds_what_rounds_read_by_an_index(postgresql: Server) -> None:
    """Before it has counted, it knows that few of the runs go on; that few of those that wait are due, it cannot."""
    store = PostgresStore(postgresql.url(postgresql.database()))
    await store.open()
    await fill(store)
    writer, plans = store.link.writer, list[str]()

    def hear(_connection: Any, said: Any) -> None:
        plans.extend(said.message.split("\n"))

    writer.add_log_listener(hear)
    for big, statement in ((BIG.removesuffix("|run_owner"), EXPLAINED), (BIG, "ANALYZE")):
        await writer.execute(statement)
        plans.clear()
        for plan in ("force_custom_plan", "force_generic_plan"):
            await writer.execute(f"SET plan_cache_mode = {plan}")
            await rounds(store)

        assert any("flow_run_unfinished" in line for line in plans)
        assert [line for line in plans if re.search(rf"Seq Scan on ({big})\b|Scan.* flow_run_created\b", line)] == []
    await store.close()
