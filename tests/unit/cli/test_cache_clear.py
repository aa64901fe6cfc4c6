"""`headrace cache clear`: what goes, what stays, and that it finds its way by indexes."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from headrace._model.records import StoredResult
from headrace._ports import Batch
from headrace._results.vault import Vault
from headrace._stores import schema
from headrace._stores.sqlite import SQLiteStore
from headrace.cli.beside import remove
from tests.unit.cli.recorded import Teller, environment, rewritten

HOUR = 3_600_000_000_000


def left(tell: Teller) -> list[str]:
    """Give the tasks of the results that are there, the newest first."""
    return [one["task_name"] for one in tell.json("cache", "ls", "--all")]


def files(tell: Teller) -> set[str]:
    """Give the names of the files beside the database."""
    return {file.name for file in (tell.home / "results").rglob("*") if file.is_file()}


def aged(tell: Teller, task: str, hours: float) -> None:
    """Have the results of *task* stand as made so many hours ago."""
    rewritten(tell.home, "UPDATE result SET created = ? WHERE task_name = ?", time.time_ns() - int(hours * HOUR), task)


# -- what goes ----------------------------------------------------------------------------------------------


def test_what_is_named_goes_with_its_file(tell_own_cache: Teller) -> None:
    key = next(one["key"] for one in tell_own_cache.json("cache", "ls") if one["task_name"] == "big")

    shown = tell_own_cache("cache", "clear", key[:12], "trap", key, "--yes").stdout

    assert shown == "Removed 2 results, 100.1 kB, with 1 file beside the database.\n"
    assert left(tell_own_cache) == ["caching", "alone", "report", "report", "add"]
    assert files(tell_own_cache) == {"report-of-the-day-02"}


def test_what_a_run_kept_for_itself_goes_by_its_key(tell_own_cache: Teller) -> None:
    flow = tell_own_cache.id_of("caching")

    assert tell_own_cache("cache", "clear", f"{flow[:8]}.7", "--yes").stdout == "Removed 1 result, 1.5 kB.\n"
    assert "alone" not in left(tell_own_cache)
    assert "caching" in left(tell_own_cache)


def test_what_is_older_goes_with_its_files_and_the_rest_stays(tell_own_cache: Teller) -> None:
    aged(tell_own_cache, "big", 13)
    aged(tell_own_cache, "report", 11)
    aged(tell_own_cache, "alone", 24)

    gone = tell_own_cache.json("cache", "clear", "--older-than", "12h", "--yes")

    assert gone == {"removed": 1, "bytes": 100_000, "files": 1, "problem": None}
    assert sorted(left(tell_own_cache)) == ["add", "alone", "caching", "report", "report", "trap"]
    assert files(tell_own_cache) == {"report-of-the-day-02"}


SELECTIONS: list[tuple[list[str], set[str]]] = [
    (["--older-than", "0s"], {"add", "big", "report", "trap"}),
    (["--older-than", "999999999d"], set()),
    (["--task", "report"], {"report"}),
    (["--task", "alone"], set()),
    (["--task", "alone", "--all"], {"alone"}),
    (["--task", "\udcff"], set()),
    (["--expired"], {"add"}),
    (["--expired", "--task", "report"], set()),
    (["--all"], {"add", "big", "report", "trap", "alone", "caching"}),
]


@pytest.mark.parametrize(("words", "gone"), SELECTIONS)
def test_all_that_is_said_must_hold_of_what_goes(tell_own_cache: Teller, words: list[str], gone: set[str]) -> None:
    rewritten(tell_own_cache.home, "UPDATE result SET expires = created WHERE task_name = 'add'")

    tell_own_cache("cache", "clear", *words, "--yes")

    assert set(left(tell_own_cache)) == {"add", "big", "report", "trap", "alone", "caching"} - gone


def test_nothing_to_remove_is_no_failure(tell_own_cache: Teller, tell_fresh: Teller) -> None:
    for tell in (tell_own_cache, tell_fresh):
        assert tell("cache", "clear", "--task", "unheard").stdout == (
            "There is nothing like that in the cache. See what is: headrace cache ls\n"
        )
    assert tell_fresh.json("cache", "clear", "--all") == {"removed": 0, "bytes": 0, "files": 0, "problem": None}
    assert not tell_fresh.home.exists()


def test_a_cleared_result_is_computed_anew(tell_own_cache: Teller) -> None:
    code = (
        "from headrace import task\nfrom headrace.cache_policies import INPUTS\n"
        "@task(cache_policy=INPUTS)\ndef add(a, b): return a + b\n"
        "print(add(1, 2, return_state=True).name)"
    )

    def state() -> str:
        script = tell_own_cache.home.parent / "anew.py"
        script.write_text(code, encoding="utf-8")
        env = environment(tell_own_cache.home)
        done = subprocess.run([sys.executable, script], env=env, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    before, again = state(), state()
    tell_own_cache("cache", "clear", "--older-than", "0s", "--yes")

    assert (before, again, state()) == ("Completed", "Cached", "Completed")


def test_in_batches_all_goes_that_is_meant_and_no_more(tell_own_cache: Teller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["headrace.cli.clear"], "BATCH", 3)
    with closing(sqlite3.connect(tell_own_cache.home / "headrace.db")) as database, database:
        database.executemany(
            "INSERT INTO result (key, run_id, task_name, created, codec, size, digest, data) "
            "VALUES (?, '', ?, 5, 'json', 1, 'd', 't1')",
            [(f"made-at-once-{number}", "even" if number % 2 == 0 else "odd") for number in range(20)],
        )

    assert tell_own_cache.json("cache", "clear", "--task", "odd", "--yes")["removed"] == 10
    assert left(tell_own_cache).count("even") == 10
    assert tell_own_cache.json("cache", "clear", "--older-than", "1h", "--yes")["removed"] == 10
    assert len(left(tell_own_cache)) == 7


# -- what is asked ------------------------------------------------------------------------------------------


def test_who_does_not_say_what_is_to_go_is_told_what_can_be_said(tell_own_cache: Teller) -> None:
    said = tell_own_cache("cache", "clear", "--yes", status=2).stderr

    assert "Say what is to go: keys, --older-than 7d, --task NAME, --expired, or --all" in said
    assert len(left(tell_own_cache)) == 7


@pytest.mark.parametrize("words", [["--all"], ["--expired"], ["--task", "add"], ["--older-than", "1d"]], ids=" ".join)
def test_keys_and_options_are_not_mixed(tell_cached: Teller, words: list[str]) -> None:
    said = tell_cached("cache", "clear", "trap", *words, "--yes", status=2).stderr

    assert "Give keys, or options that say what is to go, not both." in said


@pytest.mark.parametrize("age", ["", "7", "d", "7 days", "-7d", "1.5h", "7d12h", "\u0667d", "1" * 10 + "s", "\x1b[2J"])
def test_an_age_that_is_none_is_answered_with_an_example(tell_cached: Teller, age: str) -> None:
    said = tell_cached("cache", "clear", "--older-than", age, "--yes", status=2).stderr

    assert "is no age. Give a whole number and its unit, d, h, m or s, such as 7d." in said
    assert "\x1b" not in said


def test_of_keys_of_which_one_is_unknown_none_is_removed(tell_own_cache: Teller) -> None:
    said = tell_own_cache("cache", "clear", "trap", "unheard", "--yes", status=1).stderr

    assert said.startswith("No result has a key that begins with 'unheard'.")
    assert "trap" in left(tell_own_cache)


def test_without_a_terminal_and_yes_nothing_is_removed(tell_own_cache: Teller) -> None:
    said = tell_own_cache("cache", "clear", "--all", answers="y\n", status=2).stderr

    assert "Add --yes to remove the results." in said
    assert len(left(tell_own_cache)) == 7


def answered(tell: Teller, answer: bytes, *words: str) -> tuple[int, str]:
    """Speak `headrace cache clear` in a terminal and give *answer*; gives the status and what the terminal showed."""
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "headrace", "cache", "clear", *words]
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


def test_a_terminal_is_asked_first_with_how_much_would_go(tell_own_cache: Teller) -> None:
    status, shown = answered(tell_own_cache, b"n\n", "--task", "report")
    assert (status, "Remove 2 cached results, 21.0 kB? [y/N]" in shown) == (1, True)
    assert "Nothing was removed." in shown

    status, shown = answered(tell_own_cache, b"y\n", "trap")
    assert (status, "Remove the result trap… of 'trap', 58 bytes? [y/N]" in shown) == (0, True)
    assert "Removed 1 result, 58 bytes." in shown
    assert sorted(left(tell_own_cache)) == ["add", "alone", "big", "caching", "report", "report"]


# -- what lies beside ---------------------------------------------------------------------------------------


def test_a_file_that_another_result_names_stays(tell_own_cache: Teller) -> None:
    rewritten(
        tell_own_cache.home,
        "UPDATE result SET name = 'report-of-the-day-02', storage = ? WHERE task_name = 'alone'",
        str(tell_own_cache.home / "results"),
    )

    gone = tell_own_cache.json("cache", "clear", "--task", "report", "--yes")

    assert (gone["removed"], gone["files"]) == (2, 0)
    assert "report-of-the-day-02" in files(tell_own_cache)
    assert tell_own_cache.json("cache", "clear", "--task", "alone", "--all", "--yes")["files"] == 1


def test_a_file_that_is_missing_already_is_no_failure(tell_own_cache: Teller) -> None:
    (tell_own_cache.home / "results" / "report-of-the-day-02").unlink()

    assert tell_own_cache("cache", "clear", "--task", "report", "--yes").stdout == "Removed 2 results, 21.0 kB.\n"


def test_what_could_not_be_removed_beside_the_database_is_said(tell_own_cache: Teller) -> None:
    rewritten(tell_own_cache.home, "UPDATE result SET storage = 'nowhere-at-all://x' WHERE storage IS NOT NULL")

    result = tell_own_cache("cache", "clear", "--all", "--yes", status=1)

    assert result.stdout == "Removed 7 results, 122.5 kB.\n"
    assert result.stderr.startswith("The bytes of 2 results could not be removed beside the database: ")
    assert "nowhere-at-all" in result.stderr
    assert left(tell_own_cache) == []


async def test_what_was_made_anew_meanwhile_keeps_its_file(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "headrace.db")
    vault = Vault(str(tmp_path / "results"), inline=1, trusted=None)

    async def made(key: str, at: int) -> StoredResult:
        packed = vault.pack("x" * 100, vault.codec(None), vault.storage(None), key, beside=True)
        one = StoredResult(
            key, "", "t", at, None, packed.codec, packed.size, packed.digest, packed.storage, packed.name
        )
        await store.append(Batch(results=[one]))
        return one

    await store.open()
    seen = [await made("a", 1), await made("b", 1)]
    anew = await made("a", 2)

    gone = await remove(store, vault, seen)

    assert (gone.count, gone.size, gone.files) == (1, seen[1].size, 1)
    assert vault.unpack(anew) == "x" * 100
    assert not (tmp_path / "results" / "b").exists()
    await store.close()


def test_deleting_a_run_removes_what_it_and_its_subflows_kept_beside_the_database(tell_own_cache: Teller) -> None:
    home, flow = tell_own_cache.home, tell_own_cache.id_of("caching")
    for name in ("caching", "again"):
        (home / "results" / f"of-{name}").write_text("kept", encoding="utf-8")
        rewritten(
            home,
            "INSERT OR REPLACE INTO result (key, run_id, task_name, created, codec, size, digest, storage, name) "
            "SELECT id, id, flow_name, 1, 'text', 4, 'd', ?, 'of-' || flow_name FROM flow_run WHERE flow_name = ?",
            *(str(home / "results"), name),
        )
    rewritten(home, "UPDATE flow_run SET parent_id = ? WHERE flow_name = 'again'", f"{flow[:24]}000000000002")
    before = files(tell_own_cache)

    tell_own_cache("flow-run", "delete", flow, "--yes")

    assert before - files(tell_own_cache) == {"of-caching", "of-again"}
    assert sorted(left(tell_own_cache)) == ["add", "big", "report", "report", "trap"]


# -- plans --------------------------------------------------------------------------------------------------

GONE = StoredResult("a", "", "t", 1, None, "json", 1, "d", "/x", "a")
READS: dict[str, tuple[Callable[[SQLiteStore], Coroutine[Any, Any, Any]], str]] = {
    "lookup": (lambda store: store.results.recall(["a"]), "sqlite_autoindex_result_1 (key=?)"),
    "lookup by beginning": (lambda store: store.results.listed(begins="a"), "_result_1 (key>? AND key<?)"),
    "ls": (lambda store: store.results.listed(limit=9, cached=True), "SCAN result USING INDEX result_created"),
    "clear by age": (lambda store: store.results.listed(limit=9, before=5, cached=True), "result_created (created<?)"),
    "its next batch": (lambda store: store.results.listed(limit=9, after=GONE, before=5), "result_created (created<?)"),
    "its size": (lambda store: store.results.total(before=5, cached=True), "result_created (created<?)"),
    "files": (lambda store: store.results.taken([GONE]), "result_name (name=?)"),
}


@pytest.mark.parametrize("name", sorted(READS))
async def test_a_read_goes_through_an_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    read, wanted = READS[name]
    store = SQLiteStore(tmp_path / "headrace.db")
    await store.open()
    await store.close()
    asked: list[tuple[str, Any]] = []
    rows = store.rows

    async def noted(statement: str, values: Any) -> list[tuple[Any, ...]]:
        asked.append((statement, values))
        return await rows(statement, values)

    monkeypatch.setattr(store, "rows", noted)
    await read(store)
    with closing(sqlite3.connect(store.path)) as database:
        plan = [
            line
            for statement, values in asked
            for *_, line in database.execute(f"EXPLAIN QUERY PLAN {statement}", values)
        ]

    assert any(wanted in line for line in plan), plan
    assert not [line for line in plan if line.startswith("SCAN result") and "INDEX" not in line], plan


def test_a_batch_is_removed_through_the_index_of_keys(tmp_path: Path) -> None:
    async def made() -> None:
        store = SQLiteStore(tmp_path / "headrace.db")
        await store.open()
        await store.close()

    asyncio.run(made())
    with closing(sqlite3.connect(tmp_path / "headrace.db")) as database:
        plan = [line for *_, line in database.execute(f"EXPLAIN QUERY PLAN {schema.FORGET_RESULTS}", ("[]",))]

    assert plan[0] == "SEARCH result USING INDEX sqlite_autoindex_result_1 (key=?)"
