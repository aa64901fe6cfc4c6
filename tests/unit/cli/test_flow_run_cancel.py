"""`headrace flow-run cancel`, by itself: what it writes, and what it says of runs that hear it, that do not, or end."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager

import orjson
import pytest

from tests.chaos.processes import rows, until
from tests.unit.cli.recorded import Shop, Teller, goes_on, rewritten

HEARD = "DELETE FROM request"
ENDED = "UPDATE flow_run SET state_type = ?, state_name = ?, end_time = start_time + 1 WHERE id = ?"


@contextmanager
def once_asked(tell: Teller, do: Callable[[sqlite3.Connection], object]) -> Generator[None]:
    """Do *do* to the database once something was asked, as the process that runs the run would."""

    def answer() -> None:
        until(lambda: rows(tell.home, "SELECT 1 FROM request"))
        with closing(sqlite3.connect(tell.home / "headrace.db", timeout=20)) as database, database:
            do(database)

    open_as_new(tell)
    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def open_as_new(tell: Teller) -> None:
    """See that the table of requests is there."""
    assert rows(tell.home, "SELECT count(*) FROM request") == [(0,)]


def ends(state: str, run_id: str) -> Callable[[sqlite3.Connection], object]:
    return lambda database: database.execute(ENDED, (state.upper(), state, run_id))


def named(tell: Teller, run_id: str) -> str:
    """The beginning of every sentence about a run."""
    ((name,),) = rows(tell.home, "SELECT name FROM flow_run WHERE id = ?", run_id)
    return f"Flow run {name!r}"


def taken_up(tell: Teller) -> str:
    """Have a process that lives, as far as anybody knows, have taken up the run that was left behind; give its id."""
    run_id = tell.id_of("killed")
    taken = "UPDATE run_owner SET owner = 'elsewhere:4242:1:1', epoch = 2, since = ? WHERE run_id = ?"
    rewritten(tell.home, taken, time.time_ns(), run_id)
    return run_id


@pytest.fixture
def going(tell_own: Teller) -> str:
    """Give the id of a run that stands as in progress."""
    return goes_on(tell_own.home, "pipeline")


def test_it_asks_the_run_and_says_why(tell_own: Teller, going: str) -> None:
    said = tell_own("flow-run", "cancel", going[:8], "--no-wait").stdout

    assert said == (
        f"{named(tell_own, going)} was asked to cancel. See what became of it: headrace flow-run inspect {going[:8]}\n"
    )
    assert rows(tell_own.home, "SELECT run_id, what, why FROM request") == [
        (going, "cancel", "headrace flow-run cancel asked for it")
    ]


def test_asking_again_asks_the_same(tell_own: Teller, going: str) -> None:
    for _ in range(2):
        tell_own("flow-run", "cancel", going, "--no-wait")

    assert rows(tell_own.home, "SELECT run_id, what FROM request") == [(going, "cancel")]


def test_a_run_that_ends_while_it_waits_was_cancelled(tell_own: Teller, going: str) -> None:
    with once_asked(tell_own, ends("Cancelled", going)):
        said = tell_own("flow-run", "cancel", going, "--wait", "60").stdout

    assert said == f"{named(tell_own, going)} was cancelled.\n"


def test_a_run_that_heard_it_and_goes_on_is_still_ending(tell_own: Teller, going: str) -> None:
    with once_asked(tell_own, lambda database: database.execute(HEARD)):
        said = tell_own("flow-run", "cancel", going, "--wait", "1").stdout

    assert said == f"{named(tell_own, going)} was asked to cancel; its tasks are still ending.\n"


def test_a_process_that_does_not_hear_it_in_time_is_named(tell_own: Teller, going: str) -> None:
    said = tell_own("flow-run", "cancel", going, "--wait", "1").stdout

    assert (
        said == f"{named(tell_own, going)} was asked to cancel, but process 4242 on elsewhere has not heard it yet.\n"
    )


@pytest.mark.parametrize("waits", [("--wait", "0"), ("--wait", "0.2"), ("--wait", "nan")])
def test_less_than_a_second_is_too_short_to_complain(tell_own: Teller, going: str, waits: tuple[str, str]) -> None:
    said = tell_own("flow-run", "cancel", going, *waits).stdout

    assert "was asked to cancel. See what became of it: " in said


@pytest.mark.parametrize("state", ["Completed", "Failed"])
def test_a_run_that_comes_to_another_end_is_told_with_1(tell_own: Teller, going: str, state: str) -> None:
    with once_asked(tell_own, ends(state, going)):
        result = tell_own("flow-run", "cancel", going, "--wait", "60", status=1)

    sentence = f"{named(tell_own, going)} has ended already, in state {state}(). There is nothing left to cancel.\n"
    assert (result.stdout, result.stderr) == ("", sentence)


def test_a_run_that_is_deleted_meanwhile_is_told_with_1(tell_own: Teller, going: str) -> None:
    with once_asked(tell_own, lambda database: database.execute("DELETE FROM flow_run WHERE id = ?", (going,))):
        result = tell_own("flow-run", "cancel", going, "--wait", "60", status=1)

    assert result.stderr.endswith("It was deleted meanwhile.\n")


def test_a_run_that_has_ended_is_not_asked(tell_own: Teller) -> None:
    run_id = tell_own.id_of("fails")

    result = tell_own("flow-run", "cancel", run_id, status=1)

    assert result.stdout == ""
    assert result.stderr.startswith(f"{named(tell_own, run_id)} has ended already, in state Failed(")
    assert result.stderr.endswith("There is nothing left to cancel.\n")
    assert rows(tell_own.home, "SELECT * FROM request") == []


def test_a_run_whose_process_died_is_not_asked(tell_own: Teller) -> None:
    run_id = tell_own.id_of("killed")
    rewritten(tell_own.home, "UPDATE flow_run SET durability = 'batched' WHERE id = ?", run_id)

    result = tell_own("flow-run", "cancel", run_id, "--output", "json", status=1)

    sentence = (
        f"{named(tell_own, run_id)} is in state Running() in the record, but its process ended without a word. "
        "There is nothing left to cancel.\n"
    )
    assert (result.stdout, result.stderr) == ("", sentence)
    assert rows(tell_own.home, "SELECT * FROM request") == []


def test_a_durable_run_that_was_left_behind_ends_at_once(tell_own: Teller) -> None:
    run_id = tell_own.id_of("killed")

    said = tell_own("flow-run", "cancel", run_id[:8], "--no-wait").stdout

    assert said == (
        f"{named(tell_own, run_id)} was cancelled; it had been left behind, and nobody takes it up any more.\n"
    )
    run = tell_own.json("flow-run", "inspect", run_id)
    assert [one["name"] for one in run["transitions"]] == ["Running", "Crashed", "Cancelled"]
    assert (run["state"]["message"], run["resumable"]) == ("headrace flow-run cancel asked for it", False)
    assert rows(tell_own.home, "SELECT * FROM run_owner") == rows(tell_own.home, "SELECT * FROM request") == []
    assert rows(tell_own.home, "SELECT end_time FROM task_run WHERE end_time IS NULL") == []


def test_a_durable_run_that_is_suspended_ends_at_once_and_was_not_left_behind(tell_own: Teller) -> None:
    run_id = tell_own.id_of("killed")
    rewritten(tell_own.home, "UPDATE run_owner SET owner = '', wake_at = NULL")
    history = '[["RUNNING", "Running", 1, null], ["PAUSED", "Suspended", 2, "It sleeps."]]'
    state = "owner = '', state_type = 'PAUSED', state_name = 'Suspended', message = 'It sleeps.', history = ?"
    rewritten(tell_own.home, f"UPDATE flow_run SET {state} WHERE id = ?", history, run_id)
    assert "left behind" not in tell_own("flow-run", "ls").stdout
    assert tell_own("flow-run", "resume", "--all").stdout == "No durable run was left behind.\n"
    waits = tell_own.json("flow-run", "inspect", run_id)
    assert (waits["state"]["name"], waits["resumable"], waits["process_ended"]) == ("Suspended", True, False)

    said = tell_own("flow-run", "cancel", run_id[:8]).stdout

    assert said == f"{named(tell_own, run_id)} was cancelled; it had been suspended, and nobody takes it up any more.\n"
    run = tell_own.json("flow-run", "inspect", run_id)
    assert [one["name"] for one in run["transitions"]] == ["Running", "Suspended", "Cancelled"]
    assert not run["resumable"]
    assert rows(
        tell_own.home, "SELECT state_name FROM task_run WHERE id LIKE ? AND message LIKE '%cancel%'", f"{run_id[:24]}%"
    ) == [("Cancelled",)]


def test_nobody_goes_on_with_it(shop: Shop) -> None:
    run_id = shop.killed("7")
    shop.mend()

    cancelled = shop("flow-run", "cancel", run_id, "--output", "json")

    told = orjson.loads(cancelled.stdout)
    assert (told["id"], told["state"]["name"], told["heard"]) == (run_id, "Cancelled", False)
    assert shop("flow-run", "resume", "--all").stdout == "No durable run was left behind.\n"
    assert "it has ended as Cancelled" in shop("flow-run", "resume", run_id, status=2).stderr
    assert "There is nothing left to cancel" in shop("flow-run", "cancel", run_id, status=1).stderr
    assert shop.charged == ["7"]


def test_one_that_was_taken_up_meanwhile_is_asked_once_it_has_begun(tell_own: Teller) -> None:
    run_id = taken_up(tell_own)
    beginning = threading.Thread(target=goes_on, args=(tell_own.home, "killed"))

    with once_asked(tell_own, ends("Cancelled", run_id)):
        beginning.start()
        said = tell_own("flow-run", "cancel", run_id, "--wait", "60").stdout

    beginning.join()
    assert said == f"{named(tell_own, run_id)} was cancelled.\n"


def test_one_that_was_taken_up_and_does_not_begin_is_told_with_1(tell_own: Teller) -> None:
    run_id = taken_up(tell_own)

    result = tell_own("flow-run", "cancel", run_id, "--no-wait", status=1)

    assert result.stderr == (
        f"{named(tell_own, run_id)} has just been taken up, and has not begun there yet. Ask again: "
        f"headrace flow-run cancel {run_id[:8]}\n"
    )
    assert len(rows(tell_own.home, "SELECT * FROM run_owner")) == 1


def test_last_is_the_outermost_of_the_newest_run(tell_own: Teller) -> None:
    run_id = taken_up(tell_own)
    goes_on(tell_own.home, "killed")

    tell_own("flow-run", "cancel", "last", "--no-wait")

    assert rows(tell_own.home, "SELECT run_id FROM request") == [(run_id,)]


def test_programs_are_told_the_run_and_whether_its_process_heard(tell_own: Teller, going: str) -> None:
    asked = tell_own.json("flow-run", "cancel", going, "--no-wait")
    with closing(sqlite3.connect(tell_own.home / "headrace.db")) as database, database:
        database.execute(HEARD)
    with once_asked(tell_own, ends("Cancelled", going)):
        ended = tell_own.json("flow-run", "cancel", going, "--wait", "60")

    assert (asked["id"], asked["state"]["name"], asked["heard"]) == (going, "Running", False)
    assert (ended["id"], ended["state"]["name"], ended["heard"]) == (going, "Cancelled", True)


@pytest.mark.parametrize("wait", ["-1", "soon"])
def test_a_wait_that_cannot_be_is_wrongly_spoken(tell_own: Teller, going: str, wait: str) -> None:
    assert "--wait" in tell_own("flow-run", "cancel", going, "--wait", wait, status=2).stderr
