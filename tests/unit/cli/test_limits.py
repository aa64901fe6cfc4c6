"""`headrace gcl` and `headrace concurrency-limit`: limits are created, changed, deleted; what cannot be is refused."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from headrace._model.slots import Limit
from headrace._stores.sqlite import SQLiteStore
from tests.unit.cli.recorded import Teller, environment, record


def kept(tell: Teller) -> list[Limit]:
    """Give the limits that the database itself has."""
    return asyncio.run(SQLiteStore(tell.home / "headrace.db").limits.listed())


@pytest.fixture
def tell(tell_fresh: Teller) -> Teller:
    """A machine with the limit `api` of five slots, and nothing else."""
    tell_fresh("gcl", "create", "api", "--limit", "5")
    return tell_fresh


# -- create -------------------------------------------------------------------------------------------------


def test_a_limit_is_created_with_the_database_where_there_is_none_yet(tell_fresh: Teller) -> None:
    assert not tell_fresh.home.exists()

    assert tell_fresh("gcl", "create", "api", "--limit", "5").stdout == "Created the limit 'api': 5 at once.\n"

    assert kept(tell_fresh) == [Limit("api", 5)]


def test_a_rate_is_created_and_says_what_its_numbers_mean(tell_fresh: Teller) -> None:
    said = tell_fresh("gcl", "create", "mail", "--limit", "10", "--slot-decay-per-second", "0.5").stdout

    assert said == "Created the limit 'mail': 0.5 a second, 10 at once after a quiet time.\n"
    assert kept(tell_fresh) == [Limit("mail", 10, 0.5)]


def test_a_decay_of_0_makes_no_rate(tell_fresh: Teller) -> None:
    tell_fresh("gcl", "create", "api", "--limit", "5", "--slot-decay-per-second", "0")

    assert kept(tell_fresh) == [Limit("api", 5)]


def test_a_limit_may_be_created_disabled_and_says_so(tell_fresh: Teller) -> None:
    said = tell_fresh("gcl", "create", "api", "--limit", "5", "--disable").stdout

    assert said.endswith(" It is disabled, so it limits nothing. Enable it: headrace gcl enable api\n")
    assert kept(tell_fresh) == [Limit("api", 5, active=False)]


@pytest.mark.parametrize(
    "words", [("gcl", "create", "api", "--limit", "0"), ("concurrency-limit", "create", "api", "0")]
)
def test_a_limit_of_0_is_created_and_says_that_nobody_may_enter(tell_fresh: Teller, words: tuple[str, ...]) -> None:
    said = tell_fresh(*words).stdout

    assert said == (
        "Created the limit 'api': 0 at once. Nobody may enter until it is raised: headrace gcl update api --limit 1\n"
    )
    assert kept(tell_fresh) == [Limit("api", 0)]


def test_a_limit_that_exists_is_not_created_again_but_said_with_how_to_change_it(tell: Teller) -> None:
    for words in (("gcl", "create", "api", "--limit", "7"), ("concurrency-limit", "create", "api", "7")):
        result = tell(*words, status=1)

        assert (result.stdout, result.stderr) == (
            "",
            "There is a limit 'api' already: 5 at once. Change it with: headrace gcl update api --limit 7\n",
        )
    assert kept(tell) == [Limit("api", 5)]


def test_the_command_that_an_existing_limit_is_said_with_makes_it_what_was_asked_for(tell_fresh: Teller) -> None:
    tell_fresh("gcl", "create", "our api", "--limit", "5", "--disable")

    said = tell_fresh("gcl", "create", "our api", "--limit", "7", "--slot-decay-per-second", "2", status=1).stderr

    assert "5 at once, disabled." in said
    assert said.endswith("headrace gcl update 'our api' --limit 7 --slot-decay-per-second 2\n")


@pytest.mark.parametrize("slots", ["-1", "2.5", "five", "", "1_000", "\udcff", str(1 << 63), "9" * 5_000])
def test_what_is_no_number_of_slots_is_refused_in_a_sentence(tell: Teller, slots: str) -> None:
    for words in (
        ("gcl", "create", "other", "--limit", slots),
        ("gcl", "update", "api", "--limit", slots),
        ("concurrency-limit", "create", "other", slots),
    ):
        said = tell(*words, status=2).stderr

        assert " is no number of slots. Give a whole number from 0 on, such as 5.\n" in said
        assert len(said) < 400
    assert kept(tell) == [Limit("api", 5)]


@pytest.mark.parametrize("decay", ["-1", "nan", "inf", "1e999", "many", "", "1_0"])
def test_what_is_no_rate_is_refused_in_a_sentence(tell: Teller, decay: str) -> None:
    for words in (("create", "other", "--limit", "1"), ("update", "api")):
        said = tell("gcl", *words, "--slot-decay-per-second", decay, status=2).stderr

        assert " is no number of slots a second. Give one above 0, such as 10 or 0.5; 0 makes it no rate.\n" in said
    assert kept(tell) == [Limit("api", 5)]


@pytest.mark.parametrize("name", ["", " ", "a\x1fb", "a\x1b[2J", "\udcff"])
def test_a_name_that_cannot_be_seen_is_refused(tell: Teller, name: str) -> None:
    for words in (("gcl", "create", name, "--limit", "1"), ("concurrency-limit", "create", name, "1")):
        said = tell(*words, status=2).stderr

        assert " is no name of a limit. Give one of signs that can be seen.\n" in said
        assert "\x1b" not in said


def test_the_largest_number_that_a_database_keeps_is_a_limit(tell: Teller) -> None:
    tell("gcl", "update", "api", "--limit", str((1 << 63) - 1))

    assert kept(tell) == [Limit("api", (1 << 63) - 1)]


# -- change -------------------------------------------------------------------------------------------------


def test_a_limit_is_changed_in_what_is_given_and_says_what_it_was(tell: Teller) -> None:
    said = tell("gcl", "update", "api", "--limit", "10").stdout
    assert said == "The limit 'api' lets in 10 at once; before, 5 at once.\n"
    assert kept(tell) == [Limit("api", 10)]

    tell("gcl", "update", "api", "--slot-decay-per-second", "2")
    assert kept(tell) == [Limit("api", 10, 2.0)]

    tell("gcl", "update", "api", "--limit", "3", "--slot-decay-per-second", "0")
    assert kept(tell) == [Limit("api", 3)]


def test_a_disabled_limit_stays_disabled_when_it_is_changed(tell: Teller) -> None:
    tell("gcl", "disable", "api")

    said = tell("gcl", "update", "api", "--limit", "1").stdout

    assert "It is disabled" in said
    assert kept(tell) == [Limit("api", 1, active=False)]


def test_a_change_of_nothing_is_wrong_usage(tell: Teller) -> None:
    assert "Say what is to change: --limit N" in tell("gcl", "update", "api", status=2).stderr


def test_a_limit_is_disabled_and_enabled_and_twice_is_no_failure(tell: Teller) -> None:
    said = [tell("gcl", word, "api").stdout for word in ("disable", "disable", "enable", "enable")]

    assert said == [
        f"The limit 'api', 5 at once, is {how}.\n"
        for how in ("disabled now", "disabled already", "enabled now", "enabled already")
    ]
    assert kept(tell) == [Limit("api", 5)]


# -- delete -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("noun", ["gcl", "concurrency-limit"])
def test_a_limit_is_deleted(tell: Teller, noun: str) -> None:
    said = tell(noun, "delete", "api", "--yes").stdout

    assert said == "Deleted the limit 'api'. What used it is not limited any more.\n"
    assert kept(tell) == []


def test_without_a_terminal_and_yes_nothing_is_deleted(tell: Teller) -> None:
    said = tell("gcl", "delete", "api", answers="y\n", status=2).stderr

    assert "Add --yes to delete the limit." in said
    assert kept(tell) == [Limit("api", 5)]


def answered(tell: Teller, answer: bytes) -> tuple[int, str]:
    """Delete `api` in a terminal and give *answer*; gives the status and what the terminal showed."""
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "headrace", "gcl", "delete", "api"]
    process = subprocess.Popen(command, env=environment(tell.home), stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    while b"[y/N]: " not in shown:
        shown += os.read(ours, 65_536)
    os.write(ours, answer)
    try:
        while more := os.read(ours, 65_536):
            shown += more
    except OSError:  # the terminal's other end is closed
        pass
    os.close(ours)
    return process.wait(30), shown.decode()


def test_a_terminal_is_asked_first(tell: Teller) -> None:
    status, shown = answered(tell, b"n\n")
    assert (status, "Delete the limit 'api', 5 at once? [y/N]" in shown) == (1, True)
    assert "Nothing was deleted." in shown
    assert kept(tell) == [Limit("api", 5)]

    status, shown = answered(tell, b"y\n")
    assert (status, "Deleted the limit 'api'." in shown) == (0, True)
    assert kept(tell) == []


# -- which limit --------------------------------------------------------------------------------------------

NAMING = [
    *[("gcl", command) for command in ("inspect", "enable", "disable", "delete")],
    *[("concurrency-limit", command) for command in ("inspect", "reset", "delete")],
]


@pytest.mark.parametrize("words", NAMING)
def test_a_limit_that_is_not_there_is_one_sentence_with_the_next_step(
    tell: Teller, tell_fresh: Teller, words: tuple[str, ...]
) -> None:
    assert tell(*words, "apo", status=1).stderr == "There is no limit 'apo'; did you mean 'api'?\n"
    assert tell(*words, "zz", status=1).stderr == "There is no limit 'zz'. List them: headrace gcl ls\n"

    tell_fresh("gcl", "delete", "api", "--yes")
    assert tell_fresh(*words, "our api", status=1).stderr == (
        "There is no limit 'our api'. Create it with: headrace gcl create 'our api' --limit 5\n"
    )


def test_where_there_is_no_database_no_command_but_create_makes_one(tell_fresh: Teller) -> None:
    for words in [*NAMING, ("gcl", "update")]:
        more = ["--limit", "1"] if words[-1] == "update" else []
        said = tell_fresh(*words, "api", *more, status=1).stderr
        assert said == "There is no limit 'api'. Create it with: headrace gcl create api --limit 5\n"

    assert tell_fresh.json("gcl", "ls") == []
    assert not tell_fresh.home.exists()


@pytest.mark.parametrize("asked", ["", "\udcff", "a\x1b[2J", "a\x1fb", "k" * 5_000])
def test_a_name_that_no_limit_has_is_said_shortly_and_harmlessly(tell: Teller, asked: str) -> None:
    result = tell("gcl", "inspect", asked, "--output", "json", status=1)

    assert (result.stdout, result.stderr.count("\n")) == ("", 1)
    assert len(result.stderr) < 200
    assert "\x1b" not in result.stderr


def test_all_names_of_the_noun_speak_of_the_same_limits(tell_fresh: Teller) -> None:
    tell_fresh("concurrency-limit", "create", "db", "1")
    tell_fresh("global-concurrency-limit", "create", "api", "--limit", "5")
    tell_fresh("gcl", "update", "db", "--limit", "2")

    listed = [tell_fresh.json(noun, "ls") for noun in ("gcl", "concurrency-limit", "global-concurrency-limit")]

    assert [[one["name"], one["limit"]] for one in listed[0]] == [["api", 5], ["db", 2]]
    assert listed[0] == listed[1] == listed[2]


def test_limits_declared_in_code_and_on_the_command_line_are_the_same(tell: Teller) -> None:
    record("from headrace.concurrency import Limit\nLimit('db', slots=1).ensure()\n", tell.home)

    assert [one["name"] for one in tell.json("gcl", "ls")] == ["api", "db"]


# -- for programs -------------------------------------------------------------------------------------------


def test_programs_get_the_limit_as_it_is_from_then_on(tell_fresh: Teller) -> None:
    limit: dict[str, Any] = {
        "name": "api",
        "key": None,
        "limit": 5,
        "in_use": 0,
        "waiting": 0,
        "slot_decay_per_second": None,
        "active": True,
    }

    assert tell_fresh.json("concurrency-limit", "create", "api", "5") == limit
    assert tell_fresh.json("gcl", "disable", "api") == {**limit, "active": False}
    assert tell_fresh.json("gcl", "enable", "api") == limit
    rate = {**limit, "limit": 2, "slot_decay_per_second": 0.5, "in_use": None}
    assert tell_fresh.json("gcl", "update", "api", "--limit", "2", "--slot-decay-per-second", "0.5") == rate
    assert tell_fresh.json("gcl", "ls") == [rate]
    assert tell_fresh.json("concurrency-limit", "reset", "api") == {"name": "api", "taken_back": 0}
    assert tell_fresh.json("gcl", "delete", "api", "--yes") == {"name": "api", "deleted": True}


def test_limits_in_memory_are_nobody_s_to_see(tell: Teller) -> None:
    assert "in memory" in tell("gcl", "ls", HEADRACE_DATABASE_URL="memory:").stdout
    for words in (["create", "a", "--limit", "1"], ["inspect", "a"], ["delete", "a", "--yes"]):
        assert "in memory" in tell("gcl", *words, status=1, HEADRACE_DATABASE_URL="memory:").stderr


def test_the_command_line_starts_without_what_runs_flows(tell: Teller) -> None:
    code = (
        "import sys\nfrom headrace.cli import headrace\n"
        "headrace(['gcl', 'ls'], standalone_mode=False)\nprint(*sys.modules, file=sys.stderr)"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(tell.home), capture_output=True, text=True, check=True
    )

    assert set(done.stderr.split()) & {"headrace.concurrency", "rich", "opentelemetry.sdk", "cattrs"} == set()


def test_a_database_of_an_older_headrace_has_no_limits_until_one_is_created(tell_fresh: Teller, tmp_path: Path) -> None:
    record("from headrace import flow\n@flow\ndef one(): pass\none()\n", tell_fresh.home)
    older = (
        "import sqlite3, sys\nfrom contextlib import closing\n"
        "with closing(sqlite3.connect(sys.argv[1])) as database, database:\n"
        "    for trigger in ('signal_ended', 'signal_deleted'):\n"
        "        database.execute(f'DROP TRIGGER {trigger}')\n"
        "    for table in ('slot_limit', 'slot_claim', 'run_owner', 'signal'):\n"
        "        database.execute(f'DROP TABLE {table}')\n"
        "    for column in ('flow_attempt', 'entrypoint', 'step_id', 'step_args'):\n"
        "        database.execute(f'ALTER TABLE flow_run DROP COLUMN {column}')\n"
        "    for column in ('step_id', 'step_args', 'data'):\n"
        "        database.execute(f'ALTER TABLE task_run DROP COLUMN {column}')\n"
        "    database.execute('PRAGMA user_version = 3')\n"
    )
    subprocess.run([sys.executable, "-c", older, str(tell_fresh.home / "headrace.db")], cwd=tmp_path, check=True)

    assert tell_fresh("gcl", "ls").stdout.startswith("There are no limits yet. Create one: headrace gcl create ")
    assert tell_fresh("gcl", "inspect", "api", status=1).stderr.startswith("There is no limit 'api'.")
    assert "Holds" not in tell_fresh("flow-run", "inspect", "last").stdout
    tell_fresh("gcl", "create", "api", "--limit", "5")
    assert kept(tell_fresh) == [Limit("api", 5)]
