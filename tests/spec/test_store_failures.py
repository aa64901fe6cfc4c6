"""A database that cannot be used: one line says so, plain flows run, durable ones stop, nothing hangs."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headrace._stores import schema
from tests.chaos.processes import Child, Ended, count, database, rows, states

Break = Callable[[Path], None]


def folder_in_its_place(home: Path) -> None:
    (home / "headrace.db").mkdir(parents=True)


def file_in_the_folders_place(home: Path) -> None:
    home.write_text("not a folder")


def text_in_its_place(home: Path) -> None:
    home.mkdir()
    (home / "headrace.db").write_text("This was never a database. " * 100)


def torn(home: Path) -> None:
    home.mkdir()
    with database(home / "headrace.db") as connection:
        connection.execute("CREATE TABLE t (x)")
        connection.executemany("INSERT INTO t VALUES (?)", [("x" * 500,)] * 100)
    whole = (home / "headrace.db").read_bytes()
    (home / "headrace.db").write_bytes(whole[:100] + b"\xff" * 8_000 + whole[8_100:9_000])


def of_a_later_version(home: Path) -> None:
    home.mkdir()
    with database(home / "headrace.db") as connection:
        connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 4711")


def of_another_program(home: Path) -> None:
    home.mkdir()
    with database(home / "headrace.db") as connection:
        connection.execute("CREATE TABLE precious (x)")
        connection.execute("PRAGMA user_version = 1")


def our_tables_gone(home: Path) -> None:
    home.mkdir()
    with database(home / "headrace.db") as connection:
        connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {schema.VERSION}")


TROUBLES: dict[Break, str] = {
    folder_in_its_place: "unable to open database file",
    file_in_the_folders_place: "is a file, not a folder",
    text_in_its_place: "file is not a database",
    torn: "database disk image is malformed",
    of_a_later_version: f"schema version 4711, and this Headrace knows versions up to {schema.VERSION}",
    of_another_program: "it is the database of another program",
    our_tables_gone: "no such table: ",
}


def trouble(program: str, *args: str, home: Path, outputs: Path | None = None) -> Ended:
    """Run a program of `troubles` to its end."""
    return Child("tests.chaos.troubles", program, *args, home=home, outputs=outputs).ended(30)


def check_refused(end: Ended, reason: str) -> None:
    """See that both plain flows ran, the durable one did not, and one line said why, without a traceback of ours."""
    assert end.status == 0, end.err
    values, refused = end.out.splitlines()
    assert values == "values 3 3"
    assert refused.startswith("refused: Cannot use the database ")
    assert reason in refused
    assert len(end.lines("headrace.store")) == 1, end.err
    assert reason in end.lines("headrace.store")[0]
    assert "Runs go on without being recorded; durable ones stop." in end.lines("headrace.store")[0]
    assert 'File "' not in end.err, end.err


@pytest.mark.parametrize("spoil", TROUBLES, ids=lambda spoil: spoil.__name__)
def test_a_database_that_cannot_be_used_costs_one_line_and_the_durable_flow(tmp_path: Path, spoil: Break) -> None:
    spoil(tmp_path / "home")

    check_refused(trouble("both", home=tmp_path / "home"), TROUBLES[spoil])


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc")
def test_a_place_where_nobody_may_write_costs_the_same(tmp_path: Path) -> None:
    end = Child("tests.chaos.troubles", "both", home=tmp_path / "home", HEADRACE_DATABASE_URL="sqlite:////proc/x/h.db")

    check_refused(end.ended(30), "No such file or directory")


def test_another_programs_database_is_left_as_it_was(tmp_path: Path) -> None:
    of_another_program(tmp_path / "home")
    trouble("both", home=tmp_path / "home")

    assert rows(tmp_path / "home", "SELECT name FROM sqlite_master") == [("precious",)]


def test_a_deleted_database_is_noticed_and_recording_goes_on_in_a_new_one(tmp_path: Path) -> None:
    end = trouble("file_vanishes", home=tmp_path / "home")

    assert (end.status, end.out) == (0, "value 10\nvalue 3\n")
    assert len(end.lines("was deleted or replaced while it was in use")) == 1
    assert len(end.lines("The database works again; ")) == 1
    assert len(end.err.splitlines()) == 2, end.err
    assert states(tmp_path / "home", "plain") == ["Completed"]


def test_a_durable_flow_whose_database_is_deleted_stops_at_the_next_task(tmp_path: Path) -> None:
    end = trouble("file_vanishes_under_durable", home=tmp_path / "home")

    assert "WENT ON" not in end.out
    assert end.out.startswith("refused: Cannot use the database ")
    assert states(tmp_path / "home", "plain") == ["Completed"]


@pytest.fixture
def tmpfs(tmp_path: Path) -> Iterator[Path]:
    """Give a folder on a disk of its own, of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if mount is None or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("only root may mount; the limit to the size of files stands for a full disk")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture(params=["limit", "tmpfs"])
def disk(request: pytest.FixtureRequest) -> tuple[str, Path]:
    """Give a way to fill a disk, and a home on it."""
    if sys.platform == "win32":
        pytest.skip("neither limits nor mounts")
    folder = request.getfixturevalue("tmpfs" if request.param == "tmpfs" else "tmp_path")
    return request.param, folder / "home"


def test_a_full_disk_costs_rows_that_are_counted_and_recording_resumes(disk: tuple[str, Path], tmp_path: Path) -> None:
    way, home = disk
    end = trouble("disk_fills", way, home=home, outputs=tmp_path)

    full, refused, body, room = end.out.splitlines()
    assert (end.status, full) == (0, "full 79800 79800"), end.err
    assert refused.startswith("refused: Cannot use the database ")
    assert (body, room) == ("BODY", "room 3 1")
    assert len(end.lines("Runs go on without being recorded; durable ones stop.")) == 1, end.err
    (again,) = end.lines("The database works again; ")
    lost = int(again.split("works again; ")[1].split()[0])
    assert lost >= 2 * 400
    assert count(home) == 3 + 3 + 1
    assert states(home, "plain") == ["Completed"] * 2
    # The durable run that was refused is not lost either: its rows were owed.
    assert states(home, "durable") == ["Crashed", "Completed"]


def test_a_durable_flow_stops_at_the_task_whose_commit_finds_no_room(disk: tuple[str, Path], tmp_path: Path) -> None:
    way, home = disk
    end = trouble("disk_fills_under_durable", way, home=home, outputs=tmp_path)

    assert "WENT ON" not in end.out
    assert end.out.startswith("refused: Cannot use the database ")
    assert end.out.endswith("room 3\n")
    assert states(home, "stops") == ["Crashed"]
    with database(home / "headrace.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_disk_that_is_full_from_the_start_stops_no_plain_flow(disk: tuple[str, Path], tmp_path: Path) -> None:
    way, home = disk
    end = trouble("starts_full", way, home=home, outputs=tmp_path)

    values, refused, room = end.out.splitlines()
    assert (values, room) == ("values 3 3", "room 3"), end.err
    assert refused.startswith("refused: Cannot use the database ")
    assert states(home, "plain") == ["Completed"]


def test_a_file_system_that_is_read_only_costs_one_line_and_the_durable_flow(tmpfs: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(tmpfs)], check=True)
    child = Child(
        "tests.chaos.troubles", "both", home=tmpfs.parent / "home", HEADRACE_DATABASE_URL=f"sqlite:///{tmpfs}/h.db"
    )

    check_refused(child.ended(30), "Read-only file system")


def test_a_database_that_is_read_only_costs_one_line_and_the_durable_flow(tmpfs: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmpfs / "h.db")) as connection:
        connection.execute("CREATE TABLE t (x)")
    subprocess.run(["mount", "-o", "remount,ro", str(tmpfs)], check=True)
    child = Child(
        "tests.chaos.troubles", "both", home=tmpfs.parent / "home", HEADRACE_DATABASE_URL=f"sqlite:///{tmpfs}/h.db"
    )

    check_refused(child.ended(30), "readonly database")


@pytest.mark.skipif(not hasattr(os, "sysconf") or not Path("/proc/self/statm").exists(), reason="reads /proc")
def test_a_flood_of_tasks_keeps_the_backlog_bounded_and_memory_flat(tmp_path: Path) -> None:
    end = trouble("floods", home=tmp_path / "home")

    waiting, grown, commits = map(int, end.out.split())
    assert waiting <= 20_000 + 1_000
    assert grown < 40, f"{grown} MB more after 170,000 tasks"
    assert commits > 50
    assert count(tmp_path / "home") == 200_000
