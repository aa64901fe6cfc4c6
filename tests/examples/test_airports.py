"""The airports pipelines as their reader meets them: the files they write, the lines they print."""

from __future__ import annotations

import csv
import json
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.examples.running import ROOT, Finished

DATA = ROOT / "examples" / "data"
EXPECTED = Path(__file__).with_name("expected_report.json")


@pytest.fixture
def report(finished: Finished) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((finished.out / "report.json").read_text("utf-8"))
    return document


@pytest.fixture
def database(finished: Finished) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(finished.out / "airports.db")) as connection:
        yield connection


def raw(dataset: str) -> list[dict[str, str]]:
    """A file's records, read the plainest way."""
    with (DATA / f"{dataset}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_report_is_the_expected_one_to_the_byte(finished: Finished) -> None:
    assert (finished.out / "report.json").read_bytes() == EXPECTED.read_bytes()


def test_both_pipelines_write_the_same_rows(run_once: Callable[[str], Finished]) -> None:
    dumps: list[list[str]] = []
    for script in ("airports.py", "airports_async.py"):
        with closing(sqlite3.connect(run_once(script).out / "airports.db")) as connection:
            dumps.append(list(connection.iterdump()))

    assert len(dumps[0]) > 800
    assert dumps[0] == dumps[1]


def test_both_pipelines_print_the_same_but_for_paths_and_ids(run_once: Callable[[str], Finished]) -> None:
    printed = [run_once(script).stdout.splitlines()[:-2] for script in ("airports.py", "airports_async.py")]

    assert len(printed[0]) == 8
    assert printed[0] == printed[1]


def test_every_state_has_as_many_airports_as_the_file_says(report: dict[str, Any]) -> None:
    counts = Counter(record["state"] for record in raw("airports"))
    unknown = counts.pop("NA")

    assert {each["state"]: each["airports"] for each in report["states"]} == dict(counts)
    assert len(report["airports_without_state"]) == unknown
    assert report["airports"] == len(raw("airports"))


@pytest.mark.parametrize(("city", "dataset"), [("Seattle", "seattle-temps"), ("San Francisco", "sf-temps")])
def test_a_day_holds_the_mean_of_its_hours(database: sqlite3.Connection, city: str, dataset: str) -> None:
    fahrenheit = [float(each["temp"]) for each in raw(dataset) if each["date"].startswith("2010/07/04")]
    query = "SELECT mean_celsius, lowest_celsius, highest_celsius FROM days WHERE city = ? AND day = ?"
    celsius = database.execute(query, (city, "2010-07-04")).fetchone()

    assert len(fahrenheit) == 24
    of_the_day = sum(fahrenheit) / 24, min(fahrenheit), max(fahrenheit)
    assert [each * 1.8 + 32 for each in celsius] == pytest.approx(of_the_day, abs=0.01)


def test_only_the_day_summer_time_began_has_a_filled_hour(database: sqlite3.Connection) -> None:
    query = "SELECT city, day, hours_filled FROM days WHERE hours_filled > 0 ORDER BY city"

    assert database.execute(query).fetchall() == [
        ("San Francisco", "2010-03-14", 1),
        ("Seattle", "2010-03-14", 1),
    ]


def test_each_city_has_every_day_of_the_year(database: sqlite3.Connection) -> None:
    query = "SELECT city, count(DISTINCT day), min(day), max(day) FROM days GROUP BY city ORDER BY city"

    year = (365, "2010-01-01", "2010-12-31")
    assert database.execute(query).fetchall() == [("San Francisco", *year), ("Seattle", *year)]


def test_a_month_of_later_years_holds_their_mean_precipitation(report: dict[str, Any]) -> None:
    november = [each for each in raw("seattle-weather") if each["date"][5:7] == "11"]
    years = {each["date"][:4] for each in november}
    row = report["months"][10]

    assert row["month"] == 11
    assert len(years) == 4
    expected = sum(float(each["precipitation"]) for each in november) / 4
    assert row["seattle_later_precipitation_mm"] == pytest.approx(expected, abs=0.05)


def test_the_airports_nearest_to_the_cities_are_the_known_ones(report: dict[str, Any]) -> None:
    nearest = {
        city: [each["iata"] for each in report["nearest"] if each["city"] == city]
        for city in ("Seattle", "San Francisco")
    }

    assert nearest["Seattle"][0] == "BFI"
    assert nearest["San Francisco"][:2] == ["SFO", "OAK"]
    assert [len(each) for each in nearest.values()] == [5, 5]


def test_every_fifth_request_is_refused_and_made_again(finished: Finished) -> None:
    assert "The server refused 5 of 29 requests" in finished.stdout
    assert finished.stderr.count("was answered 503 Service Unavailable") == 5


def test_the_filled_hours_are_told_in_the_log(finished: Finished) -> None:
    assert finished.stderr.count("2010-03-14 03:00:00 is missing") == 2


def test_prints_of_a_task_become_log_lines(finished: Finished) -> None:
    assert "Wrote report.json" in finished.stderr
    assert "Wrote report.json" not in finished.stdout


def test_the_last_line_names_a_command_that_shows_the_run(finished: Finished) -> None:
    run_id = finished.command.split()[-1]
    shown = subprocess.run(
        finished.command,
        shell=True,
        cwd=ROOT,
        env=finished.environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert shown.returncode == 0, shown.stderr
    assert run_id[:8] in shown.stdout
    assert shown.stdout.count("download") >= 4
    assert "fetch" in shown.stdout
