"""Files of earlier schema versions: used on, with all that is in them, and changed in one step or not at all."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from itertools import chain
from pathlib import Path

import pytest

from headrace._model.records import Owned, Request, instant
from headrace._stores import schema
from headrace._stores.sqlite import SQLiteStore
from headrace.errors import StoreUnavailable
from tests.chaos.processes import Child, database, rows, states
from tests.contract.stores import NOON, flow_id, prefix
from tests.unit.cli.recorded import Teller

# As the first version made it; never to be changed with what later ones make.
VERSION_1 = """
CREATE TABLE flow_run (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, flow_name TEXT NOT NULL, flow_version TEXT,
    state_type TEXT NOT NULL, state_name TEXT NOT NULL, message TEXT,
    created INTEGER NOT NULL, start_time INTEGER, end_time INTEGER, run_count INTEGER,
    tags TEXT, parameters TEXT, parent_id TEXT, durability TEXT NOT NULL, owner TEXT, trace_id TEXT, history TEXT,
    epoch INTEGER
) WITHOUT ROWID;
CREATE INDEX flow_run_created ON flow_run (created);
CREATE INDEX flow_run_parent ON flow_run (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX flow_run_unfinished ON flow_run (state_type) WHERE end_time IS NULL;
CREATE TABLE task_run (
    id TEXT PRIMARY KEY, flow_run_id TEXT, task_name TEXT NOT NULL, state_type TEXT NOT NULL,
    start_time INTEGER, end_time INTEGER, name TEXT, parent_task_run_id TEXT, state_name TEXT, message TEXT,
    run_count INTEGER, tags TEXT, history TEXT, flow_attempt INTEGER, epoch INTEGER
) WITHOUT ROWID;
CREATE TABLE log (
    id INTEGER PRIMARY KEY, run_id TEXT NOT NULL, at INTEGER NOT NULL, level INTEGER NOT NULL,
    logger TEXT NOT NULL, message TEXT NOT NULL
);
CREATE INDEX log_run ON log (run_id, id);
PRAGMA application_id = 1214603620;
PRAGMA user_version = 1;
"""
GOING = f"""
INSERT INTO flow_run (id, name, flow_name, state_type, state_name, created, start_time, durability)
VALUES ('{flow_id(1)}', 'old', 'daily', 'RUNNING', 'Running', {NOON}, {NOON}, 'batched');
INSERT INTO task_run (id, flow_run_id, task_name, state_type, start_time, end_time)
VALUES ('{prefix(1)}000000000001', '{flow_id(1)}', 'fetch', 'COMPLETED', {NOON}, {NOON});
INSERT INTO log (run_id, at, level, logger, message) VALUES ('{flow_id(1)}', {NOON}, 20, 'headrace.flow_runs', 'hello');
"""
CANCEL = Request(flow_id(1), "cancel", "by hand", instant(NOON))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Give a home whose database is of version 1 and holds a run in progress, with a task run and a line."""
    (tmp_path / "home").mkdir()
    with database(tmp_path / "home" / "headrace.db") as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(VERSION_1 + GOING)
    return tmp_path / "home"


def made(path: Path) -> tuple[int, set[str]]:
    """Give the version of the file *path*, and the statements that make what is in it."""
    with database(path) as connection:
        ((version,),) = connection.execute("PRAGMA user_version").fetchall()
        statements = connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    return version, {"".join(sql.split()) for (sql,) in statements}


def test_a_file_of_version_1_becomes_what_a_new_one_is(home: Path, tmp_path: Path) -> None:
    async def opened(path: Path) -> None:
        store = SQLiteStore(path)
        await store.open()
        await store.close()

    before = made(home / "headrace.db")
    asyncio.run(opened(home / "headrace.db"))
    asyncio.run(opened(tmp_path / "new.db"))

    assert before[0] == 1
    assert made(home / "headrace.db") == made(tmp_path / "new.db")
    assert made(tmp_path / "new.db")[0] == schema.VERSION == 7


def test_a_program_goes_on_with_a_file_of_version_1_and_loses_nothing_of_it(home: Path) -> None:
    end = Child("tests.chaos.troubles", "both", home=home).ended()

    assert (end.status, end.err) == (0, "")
    assert states(home, "plain") == ["Completed", "Completed"]
    assert states(home, "durable") == ["Completed"]
    assert states(home, "daily") == ["Running"]
    assert rows(home, "SELECT message FROM log WHERE run_id = ?", flow_id(1)) == [("hello",)]
    assert rows(home, "SELECT task_name FROM task_run WHERE flow_run_id = ?", flow_id(1)) == [("fetch",)]


def test_a_run_in_a_file_of_version_1_can_be_asked_to_cancel(home: Path) -> None:
    async def asked() -> list[Request]:
        store = SQLiteStore(home / "headrace.db")
        assert await store.request(CANCEL)
        return await store.requests([flow_id(1)])

    assert asyncio.run(asked()) == [CANCEL]


def test_a_program_that_holds_a_file_of_version_1_open_goes_on_writing_it(home: Path) -> None:
    with closing(sqlite3.connect(home / "headrace.db", isolation_level=None)) as older:
        older.execute("UPDATE flow_run SET name = 'before'")
        Child("tests.chaos.troubles", "both", home=home).ended()
        older.execute("UPDATE flow_run SET name = 'after' WHERE flow_name = 'daily'")

    assert rows(home, "SELECT name FROM flow_run WHERE flow_name = 'daily'") == [("after",)]
    assert made(home / "headrace.db")[0] == schema.VERSION


def test_a_file_of_version_6_keeps_who_has_its_durable_runs(tmp_path: Path) -> None:
    """Who looks at it before it is changed sees them, too, and none that is suspended."""
    path, had = tmp_path / "six.db", Owned(flow_id(1), "one", 2, NOON, 1, 3)
    with database(path) as connection:
        for statement in (*chain(*schema.STEPS[:6]), "PRAGMA journal_mode = WAL", "PRAGMA user_version = 6"):
            connection.execute(statement)
        connection.execute("INSERT INTO run_owner VALUES (?, 'one', 2, ?, 1, 3)", (flow_id(1), NOON))

    async def seen(store: SQLiteStore) -> tuple[list[Owned], Owned | None, tuple[list[Owned], int | None]]:
        owners = store.owners
        return await owners.listed(), await owners.one(flow_id(1)), await owners.due(NOON, 9)

    async def looked_at_and_opened() -> None:
        store = SQLiteStore(path)
        assert await seen(store) == ([had], had, ([], None))
        assert made(path)[0] == 6
        await store.open()
        assert await seen(store) == ([had], had, ([], None))
        assert await store.owners.take(had, "two", now=NOON, crashes=0, steps=3)
        await store.close()

    asyncio.run(looked_at_and_opened())
    assert made(path)[0] == schema.VERSION


def test_looking_changes_no_version(home: Path) -> None:
    tell = Teller(home)

    (run,) = tell.json("flow-run", "ls")
    tell("flow-run", "inspect", "last")
    tell("flow-run", "logs", "last")

    assert (run["name"], made(home / "headrace.db")[0]) == ("old", 1)


def test_deleting_from_a_file_of_version_1_works(home: Path) -> None:
    Teller(home)("flow-run", "delete", flow_id(1), "--yes")

    assert rows(home, "SELECT count(*) FROM flow_run") == [(0,)]


def test_a_step_that_fails_leaves_the_file_as_it_was(home: Path) -> None:
    with database(home / "headrace.db") as connection:
        connection.execute("CREATE TABLE request (somebody, put, it, there)")
    before = made(home / "headrace.db")

    with pytest.raises(StoreUnavailable, match="table request already exists"):
        asyncio.run(SQLiteStore(home / "headrace.db").open())

    assert made(home / "headrace.db") == before


def test_two_programs_that_meet_at_a_file_of_version_1_both_go_on(home: Path) -> None:
    first, second = (Child("tests.chaos.troubles", "both", home=home) for _ in range(2))

    assert [child.ended().err for child in (first, second)] == ["", ""]
    assert states(home, "plain") == ["Completed"] * 4
