"""`headrace cache ls` and `headrace cache inspect`."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from headrace._model.records import StoredResult
from headrace._stores import schema
from headrace.cli.kept import shown_key
from tests.unit.cli.recorded import Teller, record, rewritten

REPORT = "report-of-the-day-01"


def known(shown: str) -> dict[str, str]:
    """Give the list of names and values that is shown."""
    lines = shown.partition("\n\n")[0].splitlines()
    indent = len(lines[0]) - len(lines[0][len("Key") :].lstrip())
    return {line[:indent].strip(): line[indent:] for line in lines}


def key_of(tell: Teller, task: str) -> str:
    """Give the key of the newest result of *task*."""
    return next(str(one["key"]) for one in tell.json("cache", "ls", "--all") if one["task_name"] == task)


# -- ls -----------------------------------------------------------------------------------------------------


def test_cached_results_are_listed_newest_first(tell_cached: Teller) -> None:
    listed = tell_cached.json("cache", "ls")

    assert [one["task_name"] for one in listed] == ["trap", "report", "report", "big", "add"]
    assert all(one["cached"] for one in listed)


def test_what_runs_keep_for_themselves_is_listed_on_demand_by_the_ids_of_the_runs(tell_cached: Teller) -> None:
    flow = tell_cached.id_of("caching")

    rows = [line.split() for line in tell_cached("cache", "ls", "--all").stdout.splitlines()]

    assert [row[:3] for row in rows[1:3]] == [
        [flow[:8], "caching", flow[:8]],
        [f"{flow[:8]}.007", "alone", f"{flow[:8]}.007"],
    ]
    assert len(rows) == 8


def test_a_row_says_who_computed_it_how_large_it_is_and_where_it_lies(tell_cached: Teller) -> None:
    flow = tell_cached.id_of("caching")[:8]
    rows = {line.split()[1]: line for line in tell_cached("cache", "ls", COLUMNS="300").stdout.splitlines()}
    place = str(tell_cached.home / "results")

    assert rows["add"].split()[:3] == [key_of(tell_cached, "add")[:12], "add", f"{flow}.001"]
    assert rows["add"].split()[-4:] == ["1", "byte", "json", "database"]
    assert rows["big"].split()[-5:] == ["never", "100.0", "kB", "bytes", f"…{place[-29:]}"]
    assert rows["trap"].startswith("trap… ")


def test_in_a_narrow_terminal_digests_stay_whole(tell_cached: Teller) -> None:
    lines = tell_cached("cache", "ls", COLUMNS="60").stdout.splitlines()

    assert [line.split()[0] for line in lines][-2:] == [key_of(tell_cached, task)[:12] for task in ("big", "add")]
    assert all(len(line) <= 60 for line in lines)


def test_more_than_asked_for_is_said_to_be_there(tell_cached: Teller) -> None:
    assert tell_cached("cache", "ls", "--limit", "4").stdout.endswith(
        "\n\nThere are more; --limit says how many are shown.\n"
    )
    assert "more" not in tell_cached("cache", "ls", "--limit", "5").stdout
    assert len(tell_cached.json("cache", "ls", "--limit", "2")) == 2


def test_what_has_expired_says_so(tell_own_cache: Teller) -> None:
    rewritten(tell_own_cache.home, "UPDATE result SET expires = created WHERE task_name = 'add'")

    (row,) = [line for line in tell_own_cache("cache", "ls").stdout.splitlines() if " add " in line]

    assert " expired " in row
    assert [one["expired"] for one in tell_own_cache.json("cache", "ls")] == [False] * 4 + [True]


def test_a_cache_that_nobody_filled_says_how_to_fill_it_and_that_works(tell_fresh: Teller) -> None:
    said = tell_fresh("cache", "ls").stdout
    assert said.startswith("Nothing is cached yet. To have a task find again what it returned")
    assert tell_fresh.json("cache", "ls") == []
    assert not tell_fresh.home.exists()

    advice = "\n".join(line.strip() for line in said.splitlines() if line.startswith("  "))
    record(f"from headrace import task\n{advice}\ndef twice(x):\n    return 2 * x\n\ntwice(2)\n", tell_fresh.home)

    assert [one["task_name"] for one in tell_fresh.json("cache", "ls")] == ["twice"]


def test_where_only_runs_kept_something_it_is_said_how_to_see_that(tell_own_cache: Teller) -> None:
    rewritten(tell_own_cache.home, "DELETE FROM result WHERE key <> run_id")

    said = tell_own_cache("cache", "ls").stdout

    assert said.endswith("is listed by: headrace cache ls --all\n")
    assert len(tell_own_cache.json("cache", "ls", "--all")) == 2


def test_a_record_in_memory_has_no_cache_to_show(tell_cached: Teller) -> None:
    assert "in memory" in tell_cached("cache", "ls", HEADRACE_DATABASE_URL="memory:").stdout
    for words in (["inspect", "a"], ["clear", "--all", "--yes"]):
        assert "in memory" in tell_cached("cache", *words, status=1, HEADRACE_DATABASE_URL="memory:").stderr


# -- keys ---------------------------------------------------------------------------------------------------


def test_a_result_is_found_by_its_key_and_by_the_beginning_of_it(tell_cached: Teller) -> None:
    key = key_of(tell_cached, "add")

    for asked in (key, key[:6], key.upper(), f" {key[:12]}…", f"{key[:8]}..."):
        assert tell_cached.json("cache", "inspect", asked)["key"] == key


def test_whatever_key_the_table_shows_is_understood(tell_cached: Teller) -> None:
    shown = [line.split()[0] for line in tell_cached("cache", "ls", "--all").stdout.splitlines()[1:]]

    found = [tell_cached.json("cache", "inspect", key)["key"] for key in shown]

    assert found == [one["key"] for one in tell_cached.json("cache", "ls", "--all")]


def test_a_whole_key_is_no_beginning_of_others(tell_own_cache: Teller) -> None:
    rewritten(tell_own_cache.home, "UPDATE result SET key = 'report' WHERE key = ?", REPORT)

    assert tell_own_cache.json("cache", "inspect", "report")["key"] == "report"


def test_a_beginning_that_several_keys_share_names_them(tell_cached: Teller) -> None:
    said = tell_cached("cache", "inspect", "rep", status=1).stderr

    assert said == (
        "Several results have keys that begin with 'rep': report-of-the-day-02 (report), report-of-the-day-01 "
        "(report). Give more of it.\n"
    )


def test_of_many_keys_that_begin_alike_a_few_are_named(tell_own_cache: Teller) -> None:
    rewritten(tell_own_cache.home, "UPDATE result SET key = 'same-' || rowid")

    said = tell_own_cache("cache", "inspect", "same", status=1).stderr

    assert said.count("same-") == 5
    assert said.endswith(" and more. Give more of it.\n")


def test_a_run_s_own_result_is_found_by_its_id_in_any_form(tell_cached: Teller) -> None:
    flow = tell_cached.id_of("caching")

    for asked in (flow, flow[:8], flow[:20], flow.replace("-", "").upper()):
        assert tell_cached.json("cache", "inspect", asked)["task_name"] == "caching"
    for asked in (f"{flow[:8]}.7", f"{flow[:24]}000000000007"):
        assert tell_cached.json("cache", "inspect", asked)["task_name"] == "alone"
    assert tell_cached.json("cache", "inspect", f"{flow[:8]}.001")["task_name"] == "add"


def test_a_run_is_not_meant_by_what_the_ids_of_two_runs_begin_with(tell_own_cache: Teller) -> None:
    ids = [f"ab{run}00000-0000-4000-8000-00000000000{number}" for run in (1, 2) for number in range(6)]
    with closing(sqlite3.connect(tell_own_cache.home / "headrace.db")) as database, database:
        database.executemany(
            "INSERT INTO result (key, run_id, task_name, created, codec, size, digest, data) "
            "VALUES (?, ?, 'many', ?, 'json', 1, 'd', 't1')",
            [(run_id, run_id, place) for place, run_id in enumerate(ids)],
        )

    for asked in ("ab1", ids[6][:8], ids[6][:24]):
        assert tell_own_cache.json("cache", "inspect", asked)["key"] in {ids[0], ids[6]}
    for asked in ("ab", ids[0][:35]):
        assert "Several results" in tell_own_cache("cache", "inspect", asked, status=1).stderr


@pytest.mark.parametrize("asked", ["zz", "", " ", "\udcff", "a\x1b[2J", "%", "ffffffff.1", "last.999", "k" * 5_000])
def test_a_key_that_is_not_there_is_one_sentence(tell_cached: Teller, asked: str) -> None:
    result = tell_cached("cache", "inspect", asked, "--output", "json", status=1)

    assert (result.stdout, result.stderr.count("\n")) == ("", 1)
    assert result.stderr.startswith("No result has a key that begins with ")
    assert result.stderr.endswith("List them: headrace cache ls --all\n")
    assert len(result.stderr) < 300


def test_where_nothing_is_kept_no_list_is_recommended(tell_own_cache: Teller) -> None:
    rewritten(tell_own_cache.home, "DELETE FROM result")

    said = tell_own_cache("cache", "inspect", "a", status=1).stderr

    assert said == "No result has a key that begins with 'a'. Nothing is kept at all.\n"


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        ("0123456789abcdef" * 2, "0123456789ab"),
        ("x" * 24, "x" * 24),
        ("x" * 25, "x" * 23 + "…"),
        ("名" * 13, "名" * 11 + "…"),
        ("one\ntwo", "one…"),
        ("\x1b[2J", "\\x1b[2J"),
    ],
)
def test_a_key_is_shown_by_its_beginning(key: str, shown: str) -> None:
    assert shown_key(StoredResult(key, "", "t", 0, None, "json", 0, "")) == shown


# -- inspect ------------------------------------------------------------------------------------------------


def test_all_that_is_known_of_a_result_is_shown(tell_cached: Teller) -> None:
    flow, key = tell_cached.id_of("caching")[:8], key_of(tell_cached, "big")

    shown = known(tell_cached("cache", "inspect", key[:12], COLUMNS="200").stdout)

    assert (shown["Key"], shown["Found by"], shown["Task"]) == (key, "its cache key", "big")
    assert shown["Computed by"] == f"{flow}.003: headrace task-run inspect {flow}.003"
    assert (shown["Expires"], shown["Form"], shown["Size"], len(shown["Digest"])) == ("never", "bytes", "100.0 kB", 32)
    assert (shown["Lies"], shown["Bytes"]) == (f"in {tell_cached.home / 'results'}", "whole")
    assert shown["Kept in"] == str(tell_cached.home / "headrace.db")


def test_the_command_that_is_shown_for_the_run_works(tell_cached: Teller) -> None:
    for task, begin in (("big", "Task run  "), ("caching", "Flow run  ")):
        shown = known(tell_cached("cache", "inspect", key_of(tell_cached, task)).stdout)
        words = shown["Computed by"].partition(": headrace ")[2].split()
        assert tell_cached(*words).stdout.startswith(begin)


def test_a_run_that_is_not_recorded_any_more_is_said_to_be(tell_own_cache: Teller) -> None:
    key = key_of(tell_own_cache, "add")
    tell_own_cache("flow-run", "delete", tell_own_cache.id_of("caching"), "--yes")

    assert known(tell_own_cache("cache", "inspect", key).stdout)["Computed by"].endswith(
        "which is not recorded any more"
    )


def test_what_no_run_computed_is_a_transaction_s(tell_own_cache: Teller) -> None:
    rewritten(tell_own_cache.home, "UPDATE result SET run_id = '' WHERE key = ?", REPORT)

    assert known(tell_own_cache("cache", "inspect", REPORT).stdout)["Computed by"] == "a transaction"
    assert tell_own_cache.json("cache", "inspect", REPORT)["run_id"] is None
    assert "  report          " in tell_own_cache("cache", "ls").stdout


def test_whether_it_has_expired_is_shown(tell_own_cache: Teller) -> None:
    key = key_of(tell_own_cache, "add")
    before = known(tell_own_cache("cache", "inspect", key).stdout)["Expires"]
    rewritten(tell_own_cache.home, "UPDATE result SET expires = created WHERE key = ?", key)
    after = known(tell_own_cache("cache", "inspect", key).stdout)["Expires"]

    assert "expired" not in before
    assert after.endswith(", so it has expired")
    assert tell_own_cache.json("cache", "inspect", key)["expired"]


def test_bytes_that_are_missing_cut_short_or_changed_are_told_apart(tell_own_cache: Teller) -> None:
    key = key_of(tell_own_cache, "big")
    (file,) = (tell_own_cache.home / "results").glob(f"*/{key}")
    found: list[tuple[str, str]] = []

    def look() -> None:
        one = tell_own_cache.json("cache", "inspect", key)
        said = known(tell_own_cache("cache", "inspect", key, COLUMNS="1000").stdout)["Bytes"]
        assert said == f"{one['bytes']}: {one['problem']}"
        found.append((one["bytes"], one["problem"]))

    file.write_bytes(b"y" + file.read_bytes()[1:])
    look()
    os.truncate(file, 99_999)
    look()
    file.unlink()
    look()

    assert [state for state, _ in found] == ["damaged", "damaged", "missing"]
    assert "its bytes are not those that were stored" in found[0][1]
    assert "shorter than what was stored: 99,999 bytes, not 100,000" in found[1][1]
    assert "It was deleted or moved" in found[2][1]


def test_bytes_in_the_database_are_checked_too(tell_own_cache: Teller) -> None:
    rewritten(tell_own_cache.home, "UPDATE result SET data = 't2' WHERE task_name = 'add'")
    rewritten(tell_own_cache.home, "UPDATE result SET data = NULL WHERE key = ?", REPORT)

    assert tell_own_cache.json("cache", "inspect", key_of(tell_own_cache, "add"))["bytes"] == "damaged"
    assert tell_own_cache.json("cache", "inspect", REPORT)["bytes"] == "missing"


def test_a_storage_that_cannot_be_reached_from_here_is_no_damage(tell_own_cache: Teller) -> None:
    rewritten(tell_own_cache.home, "UPDATE result SET storage = 'nowhere-at-all://x' WHERE task_name = 'big'")

    one = tell_own_cache.json("cache", "inspect", key_of(tell_own_cache, "big"))

    assert one["bytes"] == "out of reach"
    assert "nowhere-at-all" in one["problem"]


def test_a_pickle_is_checked_and_never_loaded(
    tell_cached: Teller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    one = tell_cached.json("cache", "inspect", "trap")

    assert (one["codec"], one["bytes"], one["preview"]) == ("pickle", "whole", None)
    assert list(tmp_path.iterdir()) == []


def test_a_text_is_shown_by_its_first_lines_and_does_nothing_to_a_terminal(tell_cached: Teller) -> None:
    shown = tell_cached("cache", "inspect", REPORT).stdout.partition("\n\n")[2].splitlines()

    assert shown == [f"  line {number}\\x1b[2J of the report" for number in range(9)] + [
        "  line 9\\x1b[2J of the report…"
    ]


def test_of_a_long_line_a_thousand_signs_are_shown(tell_cached: Teller) -> None:
    (line,) = tell_cached("cache", "inspect", "report-of-the-day-02").stdout.partition("\n\n")[2].splitlines()

    assert line == "  " + "x" * 1_000 + "…"


def test_json_is_laid_out_and_what_is_short_stands_on_one_line(tell_cached: Teller) -> None:
    flow = tell_cached.id_of("caching")[:8]

    assert tell_cached("cache", "inspect", f"{flow}.7").stdout.partition("\n\n")[2].splitlines() == [
        "  [", *(f"    {number}," for number in range(8)), "    8,…"
    ]  # fmt: skip
    assert tell_cached.json("cache", "inspect", flow)["preview"] == '"done"'


# -- databases of earlier versions --------------------------------------------------------------------------


@pytest.mark.parametrize("version", range(1, schema.WITH_RESULTS))
def test_in_a_database_of_an_earlier_version_nothing_is_cached_and_looking_leaves_it_so(
    tmp_path: Path, version: int
) -> None:
    with closing(sqlite3.connect(tmp_path / "headrace.db")) as database:
        for statement in (statement for step in schema.STEPS[:version] for statement in step):
            database.execute(statement)
        database.execute(f"PRAGMA user_version = {version}")
    tell = Teller(tmp_path)

    assert tell("cache", "ls", "--all").stdout.startswith("Nothing is cached yet.")
    assert tell.json("cache", "ls") == []
    assert "Nothing is kept at all." in tell("cache", "inspect", "a", status=1).stderr
    assert tell("cache", "clear", "--all", "--yes").stdout.startswith("There is nothing like that")

    with closing(sqlite3.connect(tmp_path / "headrace.db")) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (version,)
