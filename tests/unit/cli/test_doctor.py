"""`headrace doctor`."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from headrace.cli.doctor import file_system
from tests.unit.cli.recorded import Teller


def test_it_says_where_runs_are_and_what_that_costs(tell: Teller) -> None:
    found = tell.json("doctor")["facts"]

    assert (found["database"], found["journal mode"]) == (str(tell.home / "headrace.db"), "wal")
    assert (found["flow runs"], found["task runs"]) == (4, 9)
    assert 0 < found["fsync, median ms"] < 10_000
    assert 0 <= found["loop lag, median ms"] <= found["loop lag, worst ms"]
    assert {"headrace", "python", "anyio", "SQLite"} <= found.keys()


def test_it_names_the_runs_whose_process_ended_without_a_word(tell: Teller) -> None:
    result = tell("doctor")

    assert "1 flow run cannot end: the process ended without a word." in result.stdout


def test_a_fresh_machine_is_healthy_and_stays_fresh(tell_fresh: Teller) -> None:
    shown = tell_fresh("doctor").stdout

    assert "headrace.db (there is none yet)" in " ".join(shown.split())
    assert shown.endswith("\nNothing is wrong.\n")
    assert not tell_fresh.home.exists()


def test_a_home_that_cannot_be_written_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")

    shown = Teller(tmp_path / "file")("doctor", status=1).stdout

    assert "cannot be written: Not a directory. Set HEADRACE_HOME to a folder that can be." in shown


def test_a_record_in_memory_is_advised_against(tell: Teller) -> None:
    assert "Runs are kept in memory and lost" in tell("doctor", HEADRACE_DATABASE_URL="memory:").stdout


def test_a_journal_that_is_not_wal_is_noticed(tell_own: Teller) -> None:
    with closing(sqlite3.connect(tell_own.home / "headrace.db")) as database:
        database.execute("PRAGMA journal_mode = DELETE")

    assert "The journal mode is delete, so readers and writers stop each other." in tell_own("doctor").stdout


def test_a_password_in_the_endpoint_of_spans_is_not_shown(tell: Teller) -> None:
    shown = tell("doctor", OTEL_EXPORTER_OTLP_ENDPOINT="http://me:secret@collector:4318").stdout

    assert "http://me:***@collector:4318" in shown
    assert "secret" not in shown


def test_the_file_system_of_a_folder_is_that_of_its_mount() -> None:
    assert file_system(Path("/proc")) == "proc"
