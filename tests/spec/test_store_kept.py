"""What is kept of runs in a SQLite file: their history, their lines, and what is hard to keep."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from headrace import _runtime, flow, get_run_logger, task
from headrace._stores.sqlite import SQLiteStore
from headrace.settings import Settings


@pytest.fixture
def file(tmp_path: Path) -> Iterator[SQLiteStore]:
    """Have the test's runs told to a SQLite file."""
    made = SQLiteStore(tmp_path / "runs.db")
    runtime = _runtime.Runtime(attrs.evolve(Settings.read({}), log_level="WARNING"), made)
    before = _runtime.replace(runtime)
    yield made
    _runtime.replace(before)
    runtime.close()


def test_the_history_of_retries_is_kept_state_by_state(file: SQLiteStore) -> None:
    tries: list[int] = []

    @task(retries=2, retry_delay_seconds=[0, 0.001])
    def shaky() -> str:
        tries.append(1)
        if len(tries) < 3:
            raise OSError(f"failed {len(tries)}")
        return "ok"

    @flow
    def calls() -> str:
        return shaky()

    assert calls() == "ok"
    (run,) = drive_reads(file.task_runs(""))
    assert [name for _, name, _, _ in run.transitions] == [
        "Running", "Retrying", "AwaitingRetry", "Retrying", "Completed",
    ]  # fmt: skip
    assert "Attempt 1 of 3 failed: OSError('failed 1')" in (run.transitions[1][3] or "")
    assert run.run_count == 3
    assert [at for _, _, at, _ in run.transitions] == sorted(at for _, _, at, _ in run.transitions)


def test_lines_are_kept_with_their_run_level_and_traceback(file: SQLiteStore) -> None:
    @task
    def fails() -> None:
        logger = get_run_logger()
        logger.warning("a word, %s", "formatted")
        try:
            raise LookupError("deep")
        except LookupError:
            logger.exception("it failed")

    @flow
    def talks() -> None:
        get_run_logger().critical("from the flow")
        fails()

    talks()
    (run,) = drive_reads(file.flow_runs())
    (task_run,) = drive_reads(file.task_runs(""))
    lines = drive_reads(file.logs([run.id]))

    assert [(line.run_id, line.level) for line in lines] == [(run.id, 50), (task_run.id, 30), (task_run.id, 40)]
    assert lines[1].message == "a word, formatted"
    assert lines[2].message.startswith("it failed\nTraceback (most recent call last):")
    assert lines[2].message.endswith("LookupError: deep")


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("NUL \0 here", "NUL \\x00 here"),
        ("half \udc80 here", "half \\udc80 here"),
        ("x" * 1_000_000, "x" * 64_000 + "… (cut: 1,000,000 characters)"),
        ("%d is no number %s", "%d is no number %s"),
    ],
    ids=["nul", "surrogate", "long", "percent"],
)
def test_a_line_that_is_hard_to_keep_is_kept_all_the_same(file: SQLiteStore, said: str, kept: str) -> None:
    @flow
    def talks() -> None:
        get_run_logger().error(said)
        get_run_logger().error("next")

    # Not shown: what collects the output of tests cannot encode it either.
    logger = logging.getLogger("headrace")
    logger.propagate = False
    try:
        talks()
    finally:
        logger.propagate = True
    (run,) = drive_reads(file.flow_runs())

    assert [line.message for line in drive_reads(file.logs([run.id]))] == [kept, "next"]


def test_a_message_of_a_hundred_thousand_characters_is_cut_and_says_so(file: SQLiteStore) -> None:
    @flow
    def breaks() -> None:
        raise ValueError("x" * 100_000)

    with pytest.raises(ValueError, match="xxx"):
        breaks()
    (run,) = drive_reads(file.flow_runs())

    assert len(run.state.message or "") < 9_000
    assert "(cut: 100," in (run.state.message or "")


def test_the_size_counts_what_the_write_ahead_log_still_holds(file: SQLiteStore, tmp_path: Path) -> None:
    @flow(durable=True)
    def talks() -> None:
        for _ in range(20):
            get_run_logger().error("x" * 60_000)

    talks()
    size = float(drive_reads(file.facts())["size"].removesuffix(" MB"))

    main = (tmp_path / "runs.db").stat().st_size
    assert main < 1_000_000  # none of the lines is there yet
    assert abs(size - (main + (tmp_path / "runs.db-wal").stat().st_size) / 1e6) < 0.1
    assert size > 1.2


def drive_reads(reading: Any) -> Any:
    """Read from a SQLite store in a test that is not async."""

    async def wait() -> Any:
        return await reading

    return asyncio.run(wait())
